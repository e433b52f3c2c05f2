import type { EditedMethod } from '../aws/rest-apis.ts'
import type { UsagePlan } from '../aws/usage-plans.ts'
import { type GatewayConfig, PLAN_NAME } from '../config.ts'
import { parseBaseUrl, type Target, urlOf } from './base-url.ts'
import { firstOpened } from './checks/routing.ts'
import type { DesiredPlan } from './desired.ts'

/** The variables with which the service makes keys for a stage, in the order in which they are printed. */
export interface ServiceEnvironment {
  readonly AWS_REGION: string
  readonly USAGE_PLANS: string
  readonly API_BASE_URL: string
  /** Left out: no method of the API can be asked without more than a key. */
  readonly API_PROBE_PATH?: string
}

/**
 * Returns the environment of the service for a stage. What is set already stays, as far as it is about this stage.
 * @param offered the ids of the usage plans, by their names
 */
export function serviceEnvironment(
  environment: GatewayConfig,
  target: Target,
  offered: ReadonlyMap<string, string>,
  methods: readonly EditedMethod[],
): ServiceEnvironment {
  const base = baseUrlOf(environment, target)
  const probe = base === environment.apiBaseUrl ? environment.apiProbePath : null
  const probePath = probe ?? firstOpened(methods, parseBaseUrl(base).path)
  return {
    AWS_REGION: environment.region,
    USAGE_PLANS: [...offered].map((pair) => pair.join('=')).join(','),
    API_BASE_URL: base,
    ...(probePath === undefined ? {} : { API_PROBE_PATH: probePath }),
  }
}

/** Returns the ids of usage plans by the names that callers choose. */
export function offerPlans(
  environment: GatewayConfig,
  { api, stage }: Target,
  chosen: readonly DesiredPlan[],
  plans: readonly UsagePlan[],
): Map<string, string> {
  const covering = plans.filter(({ stages }) => stages.includes(`${api}:${stage}`))
  const ids = new Set(chosen.map(({ usagePlanId }) => usagePlanId))
  const offered = new Map(
    environment.plans
      .filter(
        ({ usagePlanId }) => !ids.has(usagePlanId) && covering.some((one) => one.usagePlanId === usagePlanId),
      )
      .map(({ name, usagePlanId }) => [name, usagePlanId]),
  )
  for (const { name, usagePlanId } of chosen) if (usagePlanId !== null) offered.set(name, usagePlanId)
  if (offered.size === 0)
    for (const { name, usagePlanId } of covering) if (PLAN_NAME.test(name)) offered.set(name, usagePlanId)
  return offered
}

function baseUrlOf(
  { apiBaseUrl, apiGatewayEndpoint, region }: GatewayConfig,
  { api, stage }: Target,
): string {
  const present = apiBaseUrl === null ? null : parseBaseUrl(apiBaseUrl)
  // A custom domain is the operator's choice, and doctor checks that it leads to the stage.
  if (
    apiBaseUrl !== null &&
    (present?.domain != null || (present?.target?.api === api && present.target.stage === stage))
  )
    return apiBaseUrl
  // Emulators have the path of the local gateway.
  if (apiGatewayEndpoint !== undefined)
    return `${apiGatewayEndpoint.replace(/\/+$/, '')}/execute-api/${api}/${stage}`
  return urlOf({ api, stage }, region, null)
}
