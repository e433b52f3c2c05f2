import type { PlanLimits } from '../aws/usage-plans.ts'
import { DAY_MS, dateOf } from '../clock.ts'
import { ServiceError } from '../errors.ts'
import type { NewRegistration, Registration } from '../store/records.ts'
import type { RegistrationDeps } from './deps.ts'
import { mayHaveKey } from './lifecycle.ts'

export type CarryQuotaDeps = Pick<RegistrationDeps, 'apiGateway' | 'store' | 'planLimits' | 'clock'>

type Quota = PlanLimits['quota']

/**
 * Carries what is left of a registration's quota to the new key of a rotation. Call it before the key is answered: a rotation
 * lifts no limit. The present key and one that still overlaps count, whichever has less left. Makes no call for a plan
 * without a quota. Safe to repeat.
 * @throws ServiceError of API Gateway and of the store
 */
export async function carryQuota(
  deps: CarryQuotaDeps,
  { rotation, usagePlanId }: Pick<NewRegistration, 'rotation' | 'usagePlanId'>,
  apiKeyId: string,
  signal: AbortSignal,
): Promise<void> {
  if (rotation === null) return
  const quota = await quotaOf(deps, usagePlanId, signal)
  if (quota === null) return
  const keys = await keysOf(deps, rotation.of)
  const spent = await Promise.all(keys.map((one) => spentBy(deps, one, { usagePlanId, quota }, signal)))
  const most = Math.max(0, ...spent)
  if (most === 0) return
  const remaining = Math.max(0, quota.limit - most)
  await deps.apiGateway.setRemaining({ usagePlanId, keyId: apiKeyId, remaining }, signal)
}

/** The present key of a registration, and the one before it if it still works. */
async function keysOf({ store }: CarryQuotaDeps, registrationId: string): Promise<Registration[]> {
  const root = await store.getRegistration(registrationId)
  const current = root?.currentId ? await store.getRegistration(root.currentId) : root
  const before = current?.replacedId ? await store.getRegistration(current.replacedId) : undefined
  return [current, before].flatMap((one) => (one !== undefined && mayHaveKey(one) ? one : []))
}

/** The requests that a key has used of its quota in the present period. 0, if its plan has no quota or it is on none. */
async function spentBy(
  { apiGateway, clock }: CarryQuotaDeps,
  { apiKeyId: keyId, usagePlanId: recordedId }: Registration,
  next: { readonly usagePlanId: string; readonly quota: NonNullable<Quota> },
  signal: AbortSignal,
): Promise<number> {
  if (keyId === null) return 0
  let on: { readonly usagePlanId: string; readonly quota: Quota } | undefined = next
  if (recordedId !== next.usagePlanId) {
    // The operator moved the key, or gave the name of its plan to another plan.
    const plans = await apiGateway.findPlansOf(keyId, signal)
    const idOn = (usagePlanId: string) => plans.find((one) => one.usagePlanId === usagePlanId)
    const plan = idOn(next.usagePlanId) ?? idOn(recordedId)
    on = plan && { usagePlanId: plan.usagePlanId, quota: plan.limits.quota }
  }
  if (on === undefined || on.quota === null) return 0
  // Two days: AWS's day may have begun before this clock's, or not yet.
  const now = clock()
  const range = { from: dateOf(now - DAY_MS), to: dateOf(now) }
  const query = { usagePlanId: on.usagePlanId, keyId, ...range }
  const days = await apiGateway.readUsage(query, signal).catch(noneIfUnsupported)
  return on.quota.limit - (days.at(-1)?.remaining ?? on.quota.limit)
}

/** An endpoint that does not report usage has none to carry, and a repeated rotation would find the same. */
function noneIfUnsupported(error: unknown): never[] {
  if (error instanceof ServiceError && error.code === 'upstream_unsupported') return []
  throw error
}

/** Reports whether a rotation on a plan carries a quota. @throws ServiceError of API Gateway */
export async function hasQuota(
  deps: Pick<CarryQuotaDeps, 'planLimits' | 'apiGateway'>,
  usagePlanId: string,
  signal: AbortSignal,
): Promise<boolean> {
  return (await quotaOf(deps, usagePlanId, signal)) !== null
}

async function quotaOf(
  { planLimits, apiGateway }: Pick<CarryQuotaDeps, 'planLimits' | 'apiGateway'>,
  usagePlanId: string,
  signal: AbortSignal,
): Promise<Quota> {
  const offered = (await planLimits()).find((one) => one.usagePlanId === usagePlanId)
  const limits = offered?.limits ?? (await apiGateway.describePlan(usagePlanId, signal)).limits
  return limits.quota
}
