import type { Gateway } from '../../emulator/gateway.ts'
import { iamPolicy } from '../../src/setup/iam-policy.ts'

/** The usage plans that services of a gateway have had. A plan that a later one lacks may still have keys. */
const planIds = new WeakMap<Gateway, Set<string>>()
/** The running gateways by their URL. */
const gateways = new Map<string, Gateway>()

/** Makes a gateway known to {@link allowOnlyServiceOf}. @returns a function that forgets it */
export function rememberGateway(gateway: Gateway): () => void {
  gateways.set(gateway.url, gateway)
  return () => void gateways.delete(gateway.url)
}

/**
 * Allows the credentials of a gateway only the calls of a service with this environment, by the generated IAM policy. A gateway
 * with a policy of its own keeps it.
 */
export function allowOnlyService(gateway: Gateway, env: Readonly<Record<string, string>>): void {
  const known = planIds.get(gateway)
  if (gateway.policy !== null && known === undefined) return
  const { AWS_REGION: region = '', USAGE_PLANS: plans = '', USAGE_PLAN_ID: only = '' } = env
  const named = plans === '' ? [only] : plans.split(',').map((plan) => plan.split('=')[1] ?? '')
  const usagePlanId = new Set([...(known ?? []), ...named.map((id) => id.trim())])
  planIds.set(gateway, usagePlanId)
  gateway.policy = iamPolicy('service', region, { usagePlanId: [...usagePlanId] })
}

/** The same for the gateway that an environment names, unless something is in between. */
export function allowOnlyServiceOf(env: Readonly<Record<string, string>>): void {
  const gateway = gateways.get(env['AWS_ENDPOINT_URL_API_GATEWAY'] ?? '')
  if (gateway !== undefined) allowOnlyService(gateway, env)
}
