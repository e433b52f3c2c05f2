import type {
  Account,
  Domain,
  EditedMethod,
  Key,
  KeySource,
  Method,
  Read,
  RestApi,
  RestApiReads,
  Stage,
} from '../aws/rest-apis.ts'
import type { UsagePlan } from '../aws/usage-plans.ts'
import { type Clock, DAY_MS, dateOf, systemClock } from '../clock.ts'
import type { GatewayConfig } from '../config.ts'
import { type BaseUrl, follow, type LeadsTo, parseBaseUrl, type Target } from './base-url.ts'

/** A plan of `USAGE_PLANS`, and its usage plan. */
export interface OfferedPlan {
  readonly name: string
  readonly usagePlanId: string
  readonly plan: Read<UsagePlan | null>
}

/** A key that an operator asks about. */
export interface KeyFacts {
  readonly key: Read<Key | null>
  /** The usage plans that it is on. */
  readonly plans: Read<readonly UsagePlan[]>
  /** The rest of its quotas, by the id of the usage plan. A plan without a quota, or whose figures are not known, is not in it. */
  readonly remaining: ReadonlyMap<string, Read<number>>
}

/** The account and its usage plans in API Gateway, and the environment that expects them. */
export interface AccountFacts {
  readonly environment: GatewayConfig
  /** The meaning of `API_BASE_URL`; `null`: it is not set. */
  readonly baseUrl: BaseUrl | null
  /** The custom domain of `API_BASE_URL`; `null`: its host is none. */
  readonly domain: Read<Domain | null> | null
  readonly leadsTo: LeadsTo
  readonly account: Read<Account>
  /** All usage plans of the account and Region. */
  readonly plans: Read<readonly UsagePlan[]>
  /** Those of `USAGE_PLANS`. */
  readonly offered: readonly OfferedPlan[]
  readonly key: KeyFacts | null
}

/** An API and one of its stages in API Gateway. `null` in place of a value: there is no such thing. */
export interface ApiFacts {
  readonly target: Target
  readonly api: Read<RestApi | 'http-api' | null>
  readonly stages: Read<readonly Stage[] | null>
  /** The methods as they are edited. */
  readonly methods: Read<readonly EditedMethod[] | null>
  /** The methods as they are deployed at the stage. */
  readonly deployed: Read<readonly Method[] | null>
  /** The methods of the stage's canary; `null` as well: it has none. */
  readonly canary: Read<readonly Method[] | null>
  /** The place in which the stage looks for a key. */
  readonly deployedKeySource: Read<KeySource | null>
}

export type Facts = AccountFacts & ApiFacts

const NOTHING = { known: true, value: null } as const
const NOT_DEPLOYED = { deployed: NOTHING, canary: NOTHING, deployedKeySource: NOTHING }

/** Reads what concerns the account, its usage plans, and a key. @throws CannotLookError */
export async function readAccountFacts(
  reads: RestApiReads,
  environment: GatewayConfig,
  keyValue: string | null,
  clock: Clock = systemClock,
): Promise<AccountFacts> {
  const baseUrl = environment.apiBaseUrl === null ? null : parseBaseUrl(environment.apiBaseUrl)
  const [account, plans, domain, key] = await Promise.all([
    reads.account(),
    reads.plans(),
    baseUrl?.domain == null ? null : reads.domain(baseUrl.domain),
    keyValue === null ? null : readKey(reads, keyValue, clock),
  ])
  const offered = await Promise.all(
    environment.plans.map(async ({ name, usagePlanId }) => ({
      ...{ name, usagePlanId },
      // A role may be allowed to read only the plans of the configuration.
      plan: plans.known ? found(plans.value, usagePlanId) : await reads.plan(usagePlanId),
    })),
  )
  const leadsTo = follow(baseUrl, domain?.known ? domain.value : null, environment.region)
  return { environment, baseUrl, domain, leadsTo, account, plans, offered, key }
}

function found(plans: readonly UsagePlan[], usagePlanId: string): Read<UsagePlan | null> {
  return { known: true, value: plans.find((plan) => plan.usagePlanId === usagePlanId) ?? null }
}

/** The days before today that a period can have: a key that was not used today may have no figures of today. */
const DAYS_BACK = { DAY: 0, WEEK: 6, MONTH: 30 }

async function readKey(reads: RestApiReads, value: string, clock: Clock): Promise<KeyFacts> {
  const key = await reads.keyByValue(value)
  if (!key.known || key.value === null)
    return { key, plans: { known: true, value: [] }, remaining: new Map() }
  const { id: keyId } = key.value
  const plans = await reads.plansOf(keyId)
  const remaining = new Map<string, Read<number>>()
  for (const { usagePlanId, limits } of plans.known ? plans.value : []) {
    if (limits.quota === null) continue
    const now = clock()
    const from = dateOf(now - DAYS_BACK[limits.quota.period] * DAY_MS)
    const usage = await reads.usage({ usagePlanId, keyId, from, to: dateOf(now) })
    const last = usage.known ? usage.value.at(-1) : undefined
    if (!usage.known) remaining.set(usagePlanId, usage)
    else if (last !== undefined) remaining.set(usagePlanId, { known: true, value: last.remaining })
  }
  return { key, plans, remaining }
}

/** Reads an API and one of its stages. @throws CannotLookError */
export async function readApiFacts(reads: RestApiReads, target: Target): Promise<ApiFacts> {
  const api = await reads.restApi(target.api)
  if (api.known && (api.value === null || api.value === 'http-api'))
    return { target, api, ...NOT_DEPLOYED, stages: NOTHING, methods: NOTHING }
  const [stages, methods] = await Promise.all([reads.stages(target.api), reads.methods(target.api)])
  const stage = stages.known ? stages.value?.find(({ name }) => name === target.stage) : undefined
  if (stages.known && (stage === undefined || stage.deploymentId === null))
    return { target, api, stages, methods, ...NOT_DEPLOYED }
  const canaryId = stage?.canary?.deploymentId ?? null
  const [deployed, canary, deployedKeySource] = await Promise.all([
    stages.known
      ? reads.deployed(target.api, stage?.deploymentId ?? '')
      : // The stage says which deployment it has.
        stages,
    canaryId === null ? NOTHING : reads.deployed(target.api, canaryId),
    reads.deployedKeySource(target.api, target.stage),
  ])
  return { target, api, stages, methods, deployed, canary, deployedKeySource }
}

/** Formats a stage as usage plans do: `apiId:stage`. */
export function showTarget({ api, stage }: Target): string {
  return `${api}:${stage}`
}

/** Reads stages as usage plans name them, each once. */
export function targetsOf(stages: readonly string[]): Target[] {
  return [...new Set(stages)].map((text) => {
    const [api = '', stage = ''] = text.split(':')
    return { api, stage }
  })
}
