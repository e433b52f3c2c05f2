import { failureOf } from '../errors.ts'
import type { BootstrapToken, NewRegistration, Registration } from '../store/records.ts'
import { carryQuota } from './carry-quota.ts'
import type { Credential, RegistrationCall, RegistrationDeps } from './deps.ts'
import { withDeadline } from './idempotency/deadline.ts'
import { forgetOld } from './idempotency/forget-old.ts'
import type { InFlight, Waiter } from './idempotency/in-flight.ts'
import {
  type CredentialSecrets,
  type RequestIdentity,
  requireSameRequest,
  unsealCredential,
} from './idempotency/request-identity.ts'
import { isRemembered } from './lifecycle.ts'
import type { MintQueue } from './mint/mint-queue.ts'
import type { MintRequest, NewMintRequest } from './mint/mint-request.ts'
import type { HandOutQueue } from './pool/hand-out-queue.ts'
import type { CheckPresentKey } from './present-key.ts'
import type { KeyLiveness } from './queries/key-liveness.ts'
import { SLOWNESS_MS } from './retry-after.ts'
import type { Timing } from './timing.ts'
import {
  beingUndone,
  idempotencyInProgress,
  outOfTime,
  registrationEnded,
  registrationSuspended,
  withheldError,
} from './use-case-errors.ts'

export interface IssueDeps extends RegistrationDeps {
  readonly inFlight: InFlight<Credential>
  readonly mintQueue: MintQueue
  /** `null`: no keys are made beforehand. */
  readonly handOutQueue: HandOutQueue | null
  readonly liveness: KeyLiveness
  readonly checkPresentKey: CheckPresentKey
}

/** The content of a mint request: a registration, or a rotation of one. */
export type KeyContent = Pick<
  MintRequest,
  'name' | 'description' | 'plan' | 'rotation' | 'clientMetadata' | 'federated' | 'expiresAt'
>

/** A request for a credential, by a registration or a rotation. */
export interface CredentialRequest {
  /** The token whose policy applies. */
  readonly token: BootstrapToken
  /** `null`: the request has no idempotency key. */
  readonly identity: RequestIdentity | null
  /** See {@link MintRequest.shown}. */
  readonly shown: MintRequest['shown']
  /** An earlier response to the same request may be returned again. */
  readonly mayReplay: boolean
  /** Returns what to mint, if no earlier response can be returned. @throws ServiceError why it is refused */
  authorize(): Promise<KeyContent>
  /** Checks that what an earlier request began may still be answered. @throws ServiceError why not */
  reauthorize(earlier: NewRegistration): Promise<void>
}

/** A request with its deadline and its waiting callers. */
interface Attempt {
  readonly request: CredentialRequest
  readonly call: RegistrationCall
  readonly waiters: Waiter[]
  readonly answerBy: number
}

/**
 * Mints a key and returns its credential, exactly once: records the intent, mints, records the result; together with other
 * requests that wait at the same time. If that fails, the key is removed again, after the response if need be. With an
 * idempotency key, the same request gets the same credential for a day, whatever failed in between.
 * @throws ServiceError what `authorize` throws; the codes of idempotency, of API Gateway and of the store; `overloaded`;
 *   `registration_ended` if the minted key has ended; `upstream_unavailable` at the deadline
 */
export async function issueCredential(
  deps: IssueDeps,
  request: CredentialRequest,
  call: RegistrationCall,
): Promise<Credential> {
  const answerBy = performance.now() + call.timeoutMs
  const { identity } = request
  // With an idempotency key, a retry joins the work, which continues. Without one, the use comes back when that is undone.
  const late = () => outOfTime(identity === null ? deps.timing.undo : SLOWNESS_MS)
  return withDeadline(call.timeoutMs, late, async (isLate) => {
    const waiters: Waiter[] = [
      { waits: () => !isLate() && !call.isGone(), hasLeft: call.isGone, readyBy: call.readyBy },
    ]
    const attempt: Attempt = { request, call, waiters, answerBy }
    if (identity === null) return deps.inFlight.start(() => mint(deps, attempt))
    const running = deps.inFlight.find(identity.keyHash)
    if (running === undefined) {
      return deps.inFlight.start(() => lookUp(deps, attempt, identity), { ...identity, waiters })
    }
    requireSameRequest(identity, running)
    running.waiters.push(...waiters)
    const { registration } = await running.result.catch((error: unknown) => {
      // This request joined when the others had left already: it is being undone.
      throw failureOf(error) === 'client_closed' ? idempotencyInProgress(deps.timing) : error
    })
    return replay(deps, attempt, registration, identity, 'minted now')
  })
}

/** Continues an earlier request with the same idempotency key, or mints. */
async function lookUp(deps: IssueDeps, attempt: Attempt, identity: RequestIdentity): Promise<Credential> {
  const { token, mayReplay } = attempt.request
  if (mayReplay) {
    const earlier = await deps.store.findByIdempotencyKey(token.id, identity.keyHash)
    if (earlier !== undefined && !(await forgetIfOver(deps, earlier)))
      return continueEarlier(deps, attempt, earlier, identity)
  }
  return mint(deps, attempt)
}

/**
 * Forgets the idempotency key of an earlier request after a day. Here and not only by the job: of two requests after the
 * day, the second must not be a replay of the first day's key.
 * @returns `false`: it is remembered; also while the clock is in doubt, because a clock that is ahead would forget all
 */
async function forgetIfOver(
  { clock, clockCheck, store, timing }: IssueDeps,
  earlier: Registration,
): Promise<boolean> {
  if (isRemembered(earlier, clock() - timing.idempotency)) return false
  const now = await clockCheck.certainNow()
  if (now === undefined || isRemembered(earlier, now - timing.idempotency)) return false
  return forgetOld({ store, timing }, now)
}

async function continueEarlier(
  deps: IssueDeps,
  attempt: Attempt,
  earlier: Registration,
  identity: RequestIdentity,
): Promise<Credential> {
  requireSameRequest(identity, earlier.idempotency ?? identity)
  if (earlier.status !== 'pending') return replay(deps, attempt, earlier, identity)
  if (earlier.undoing) throw beingUndone(deps.timing)
  // Pending: another process is minting it, or died, and this one continues where it stopped.
  const { clock, leases, store, timing } = deps
  const lease = leases.hold()
  const { id, name, description, plan, usagePlanId, rotation, clientMetadata, federated } = earlier
  try {
    if (!(await store.takeLeases([id], 'pending', lease, clock())).has(id))
      throw idempotencyInProgress(timing)
    await attempt.request.reauthorize(earlier)
    const secrets = unsealEarlier(earlier, identity, timing)
    const begun = { id, owner: lease.owner, registration: earlier, secrets }
    const content = {
      ...{ name, description, plan: { name: plan, usagePlanId } },
      ...{ rotation, clientMetadata, federated },
    }
    return await deps.mintQueue.submit(toMintRequest(attempt, content, begun))
  } catch (error) {
    // If this fails, the lease expires.
    await store.releaseLeases([{ id, owner: lease.owner }]).catch(() => undefined)
    throw error
  } finally {
    leases.drop(lease.owner)
  }
}

async function mint(deps: IssueDeps, attempt: Attempt): Promise<Credential> {
  const request = toMintRequest(attempt, await attempt.request.authorize(), null)
  return (deps.handOutQueue ?? deps.mintQueue).submit(request)
}

function toMintRequest(
  { request: { token, identity, shown }, call, waiters, answerBy }: Attempt,
  content: KeyContent,
  begun: MintRequest['begun'],
): NewMintRequest {
  call.onPlan?.(content.plan.name)
  return { ...content, token, identity, shown, begun, call, waiters, answerBy }
}

/** Returns the credential of an active registration again, to a caller that can unseal it. */
async function replay(
  deps: IssueDeps,
  { call, request }: Attempt,
  { id }: Pick<Registration, 'id'>,
  identity: RequestIdentity,
  minted: 'minted now' | 'minted earlier' = 'minted earlier',
): Promise<Credential> {
  const registration = await deps.store.getRegistration(id)
  if (registration !== undefined) call.onPlan?.(registration.plan)
  const withheld = registration && withheldError(registration, deps.clock())
  if (withheld !== undefined) throw withheld
  const apiKeyId = registration?.apiKeyId
  if (registration === undefined || apiKeyId === null || apiKeyId === undefined)
    throw beingUndone(deps.timing)
  const secrets = unsealEarlier(registration, identity, deps.timing)
  if (registration.rotation !== null && registration.answeredAt === null) {
    await request.reauthorize(registration)
    // Once more: the present key was used since the key of this rotation was minted.
    await carryQuota(deps, registration, apiKeyId, AbortSignal.timeout(deps.timing.undo))
  }
  if (minted === 'minted earlier') await checkReplayedKey(deps, registration, apiKeyId)
  const key = { keyId: apiKeyId, value: secrets.apiKeyValue, tokenId: registration.tokenId }
  const until = () => (call.isGone() ? null : call.readyBy)
  const probed =
    call.readyBy === null || secrets.seenWorking ? null : deps.keyProbe?.untilAccepted(key, until)
  const ready = secrets.seenWorking || ((await probed) ?? null)
  // Recorded before the response: an unanswered key is undone after a day, and this one must not be.
  const answered = await deps.store.markAnswered(id, call.actor, deps.clock())
  if (answered === undefined) throw beingUndone(deps.timing)
  return { registration, apiKeyId, secrets, replaced: answered.replaced, ready, replayed: true }
}

/**
 * Looks at a key before it is returned once more: what an operator did to it in AWS stands. A look that fails is no evidence
 * against the key.
 * @throws ServiceError `registration_ended` if the key was deleted in API Gateway; `registration_suspended` if it was
 *   disabled or taken off its plan there
 */
async function checkReplayedKey(
  { clock, liveness }: IssueDeps,
  { createdAt, usagePlanId }: Registration,
  keyId: string,
): Promise<void> {
  const fault = (await liveness.look({ keyId, usagePlanId }, clock() - createdAt))?.fault ?? null
  if (fault === 'gone') throw registrationEnded()
  if (fault !== null) throw registrationSuspended()
}

function unsealEarlier(
  { id, idempotency }: Registration,
  identity: RequestIdentity,
  timing: Timing,
): CredentialSecrets {
  if (idempotency === null) throw beingUndone(timing) // Forgotten since it was looked up.
  return unsealCredential(identity, id, idempotency.sealed)
}
