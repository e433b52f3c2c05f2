import type { Caller } from '../auth/bootstrap-token.ts'
import { sameHash } from '../auth/secret-hash.ts'
import type { Plan } from '../config.ts'
import { ServiceError } from '../errors.ts'
import type { Actor } from '../store/audit.ts'
import type { Registration } from '../store/records.ts'
import type { RequestIdentity } from './idempotency/request-identity.ts'
import type { IssueDeps, KeyContent } from './issue-credential.ts'
import { isAbandoned, isDue, isUndelivered, isUseFinal } from './lifecycle.ts'
import { CLOCK_MS, untilRecovered } from './retry-after.ts'
import { planOfNextKey, presentKeyOf } from './rotate.ts'
import { allowedPlans } from './token-policy.ts'
import {
  alreadyRegistered,
  nameInProgress,
  rotationRefused,
  unreceived,
  whyReplayed,
} from './use-case-errors.ts'

/** A registration that a federated caller asks for. */
export interface WantedRegistration {
  readonly caller: Caller
  /** What is minted if the name is free. */
  readonly content: KeyContent
  /** The name of the plan that the request names, if it names one. */
  readonly requestedPlan: string | undefined
  readonly identity: RequestIdentity | null
  readonly actor: Actor
}

/**
 * Decides about a registration under a name that a living registration of the same identity holds, by the rule's `on_repeat`:
 * `rotate` replaces its key and its management token. The key keeps its plan, to which an operator may have moved it, unless the
 * request names another, or the rule no longer allows the plan. `refuse` does so too as long as it is not known that a caller
 * received the key. A registration whose key is gone from API Gateway, or has expired, is ended: it does not keep the name.
 * @returns the rotation to begin; `undefined`: the name is free, or is being registered, which beginning finds out
 * @throws ServiceError `already_registered` (`refuse`); `registration_suspended`, `rotation_in_progress`,
 *   `upstream_misconfigured` (`rotate`); `idempotency_in_progress`: the holder is not finished; `token_replayed`; errors of API
 *   Gateway and of the store
 */
export async function repeatRegistration(
  deps: IssueDeps,
  wanted: WantedRegistration,
): Promise<KeyContent | undefined> {
  const { store, clock, clockCheck, timing, config } = deps
  const { caller, content, identity, actor } = wanted
  const { id: tokenId, federation } = caller.token
  if (federation === null || federation.onRepeat === 'add') return undefined
  const root = await store.findLiveByName(tokenId, content.name)
  // Of a pending one, beginning decides: it looks at the proof before the name.
  if (root === undefined || root.status === 'pending') return undefined
  await requireFreshProof(deps, wanted)
  const current = await presentKeyOf(deps, root)
  if (isOf(identity, current)) throw nameInProgress(0)
  if (isAbandoned(current)) throw nameInProgress(untilRecovered(timing))
  if (isDue(current, clock())) {
    const now = await clockCheck.certainNow()
    // By AWS's time it may expire in a moment only.
    if (now === undefined) throw nameInProgress(CLOCK_MS)
    if (!isDue(current, now)) throw nameInProgress((current.endsAt ?? now) - now)
    await store.startEndings([current.id], now)
    return undefined
  }
  if (federation.onRepeat === 'refuse') {
    if (await isGone(deps, current)) return endGone(deps, current, actor)
    const isReceived = root.currentId !== null || (await wasReceived(deps, root))
    if (isReceived) throw alreadyRegistered(`${config.publicUrl}/register/${root.id}`)
  }
  // Before API Gateway is asked: requests that are repeated meanwhile cost it nothing.
  const refusal = await store.whyNotRotatable(root.id, clock())
  if (refusal === 'ended') return undefined
  if (refusal !== undefined) throw await rotationRefused(refusal, deps)
  const plan = await planUnlessGone(deps, current)
  if (plan === null) return endGone(deps, current, actor)
  return {
    ...content,
    plan: mayStay(deps, wanted, current) ? plan : content.plan,
    rotation: { of: root.id, overlapMs: federation.overlapMs, renewsManagement: true },
    federated: { proof: caller.proof, holdsName: false },
  }
}

/**
 * Refuses a credential that can be used once and was: before anything else that is said about the caller's registrations.
 * @throws ServiceError `token_replayed`, or what stands for it: see {@link whyReplayed}
 */
export async function requireFreshProof(
  deps: IssueDeps,
  { caller, identity }: Pick<WantedRegistration, 'caller' | 'identity'>,
): Promise<void> {
  const used = caller.proof === null ? undefined : await deps.store.findProof(caller.proof.hash)
  if (used === undefined) return
  const holder = used.holder === null ? undefined : await deps.store.getRegistration(used.holder)
  // The same request began in another process since it was looked up here: a retry finds it.
  if (holder !== undefined && isOf(identity, holder)) throw nameInProgress(0)
  throw await whyReplayed(deps, caller.kind, holder)
}

function isOf(identity: RequestIdentity | null, { idempotency }: Registration): boolean {
  return identity !== null && idempotency !== null && sameHash(identity.keyHash, idempotency.keyHash)
}

function mayStay(
  { config: { plans } }: IssueDeps,
  { caller, requestedPlan }: WantedRegistration,
  { plan }: Registration,
): boolean {
  if (requestedPlan !== undefined && requestedPlan !== plan) return false
  // On a plan that this service does not offer, an operator put it.
  return allowedPlans(plans, caller.token).includes(plan) || !plans.some(({ name }) => name === plan)
}

/**
 * Reports whether a caller received the key of a registration, as far as is known: an agent that died before the answer must
 * not be locked out of its name.
 * @throws ServiceError `idempotency_in_progress` while the response may still be on its way
 */
async function wasReceived(deps: IssueDeps, { id }: Registration): Promise<boolean> {
  const { store, clock, timing, deliveries } = deps
  await deliveries.flush()
  const root = await store.getRegistration(id)
  if (root === undefined || isUseFinal(root)) return true
  const doubtFrom = (root.answeredAt ?? 0) + timing.inDoubtAfter
  if (isUndelivered(root) && doubtFrom > clock()) throw unreceived(doubtFrom - clock())
  return false
}

async function isGone({ liveness, clock }: IssueDeps, current: Registration): Promise<boolean> {
  const { apiKeyId: keyId, usagePlanId, createdAt } = current
  if (keyId === null) return false
  return (await liveness.look({ keyId, usagePlanId }, clock() - createdAt))?.fault === 'gone'
}

/** @returns the plan for the next key; `null`: the present one is gone from API Gateway */
async function planUnlessGone(deps: IssueDeps, current: Registration): Promise<Plan | null> {
  try {
    return await planOfNextKey(deps, current)
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'registration_ended') return null
    throw error
  }
}

/** Ends a registration whose key an operator deleted in API Gateway. */
async function endGone({ store, clock }: IssueDeps, { id }: Registration, actor: Actor): Promise<undefined> {
  await store.endKeys([id], actor, clock())
}
