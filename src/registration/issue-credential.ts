import type { BootstrapToken, Registration } from '../store/records.ts'
import type { Credential, RegistrationCall, RegistrationDeps } from './deps.ts'
import { endedError } from './errors.ts'
import { withDeadline } from './idempotency/deadline.ts'
import type { InFlight, Waiter } from './idempotency/in-flight.ts'
import {
  type CredentialSecrets,
  idempotencyInProgress,
  type RequestIdentity,
  requireSameRequest,
  unsealCredential,
} from './idempotency/request-identity.ts'
import type { MintQueue } from './mint/mint-queue.ts'
import type { MintRequest } from './mint/mint-request.ts'

export interface IssueDeps extends RegistrationDeps {
  readonly inFlight: InFlight<Credential>
  readonly mintQueue: MintQueue
}

/** What a credential is asked for: a registration, or the rotation of one. */
export interface CredentialRequest {
  /** By whose policy the key is made. */
  readonly token: BootstrapToken
  /** `null` without an idempotency key. */
  readonly identity: RequestIdentity | null
  /** Whether an earlier answer to the same request may be given again. */
  readonly mayReplay: boolean
  /** What to make, where no earlier answer is there. @throws ServiceError why not */
  order(): Promise<Pick<MintRequest, 'name' | 'description' | 'plan' | 'rotation'>>
}

/** One request on its way, and how it is answered in time. */
interface Attempt {
  readonly request: CredentialRequest
  readonly call: RegistrationCall
  readonly waiters: Waiter[]
  readonly answerBy: number
}

/**
 * Makes a key and answers its credential, exactly once: records the intent, makes the key, records the success; together
 * with those that wait at the same time. Where that fails, the key is removed again, after the answer if need be. With
 * an idempotency key the same request gets the same credential, whatever broke in between, for a day.
 * @throws ServiceError what `order` throws; every code of idempotency, of API Gateway and of the store; `overloaded`;
 *   `registration_ended` if the key that was made is gone; `upstream_unavailable` when the time is over
 */
export async function issueCredential(
  deps: IssueDeps,
  request: CredentialRequest,
  call: RegistrationCall,
): Promise<Credential> {
  const answerBy = performance.now() + call.timeoutMs
  const { identity } = request
  return withDeadline(call.timeoutMs, async (isLate) => {
    const waiters: Waiter[] = [{ waits: () => !isLate() && !call.isGone(), readyBy: call.readyBy }]
    const attempt: Attempt = { request, call, waiters, answerBy }
    if (identity === null) return deps.inFlight.start(() => begin(deps, attempt))
    const running = deps.inFlight.find(identity.keyHash)
    if (running === undefined) {
      return deps.inFlight.start(() => lookUp(deps, attempt, identity), { ...identity, waiters })
    }
    requireSameRequest(identity, running)
    running.waiters.push(...waiters)
    const { registration } = await running.result
    return replay(deps, attempt, registration, identity)
  })
}

/** Answers from an earlier request with the same idempotency key, or begins. */
async function lookUp(deps: IssueDeps, attempt: Attempt, identity: RequestIdentity): Promise<Credential> {
  const { token, mayReplay } = attempt.request
  if (mayReplay) {
    const rememberedSince = deps.clock() - deps.timing.idempotency
    const earlier = await deps.store.findByIdempotencyKey(token.id, identity.keyHash)
    if (earlier !== undefined && earlier.createdAt >= rememberedSince) {
      return continueEarlier(deps, attempt, earlier, identity)
    }
    // Forgotten here too, and not only on the timer: of two requests after the day, one must not still be a replay.
    if (earlier !== undefined) await deps.store.forgetIdempotency(rememberedSince)
  }
  return begin(deps, attempt)
}

async function continueEarlier(
  deps: IssueDeps,
  attempt: Attempt,
  earlier: Registration,
  identity: RequestIdentity,
): Promise<Credential> {
  requireSameRequest(identity, earlier.idempotency ?? identity)
  if (earlier.status !== 'pending') return replay(deps, attempt, earlier, identity)
  if (earlier.undoing) throw idempotencyInProgress()
  // Pending: somebody works on it, or the process that did is dead and this one goes on where it stopped.
  const { clock, leases, store } = deps
  const lease = leases.hold()
  const { id, name, description, plan, usagePlanId, rotation } = earlier
  try {
    if (!(await store.takeLeases([id], 'pending', lease, clock())).has(id)) throw idempotencyInProgress()
    const answer = unsealEarlier(earlier, identity)
    const begun = { id, owner: lease.owner, registration: earlier, answer }
    const order = { name, description, plan: { name: plan, usagePlanId }, rotation }
    return await deps.mintQueue.submit(toOrder(attempt, order, begun))
  } catch (error) {
    // Otherwise it lapses by itself.
    await store.releaseLeases([{ id, owner: lease.owner }]).catch(() => undefined)
    throw error
  } finally {
    leases.drop(lease.owner)
  }
}

async function begin(deps: IssueDeps, attempt: Attempt): Promise<Credential> {
  return deps.mintQueue.submit(toOrder(attempt, await attempt.request.order(), null))
}

function toOrder(
  { request: { token, identity }, call, waiters, answerBy }: Attempt,
  order: Pick<MintRequest, 'name' | 'description' | 'plan' | 'rotation'>,
  begun: MintRequest['begun'],
): Omit<MintRequest, 'resolve' | 'reject'> {
  return { ...order, token, identity, begun, call, waiters, answerBy }
}

/** The credential of a registration that is active, for the caller who can unseal it. */
async function replay(
  deps: IssueDeps,
  { call }: Attempt,
  { id }: Pick<Registration, 'id'>,
  identity: RequestIdentity,
): Promise<Credential> {
  const registration = await deps.store.getRegistration(id)
  const over = registration && endedError(registration, deps.clock())
  if (over !== undefined) throw over
  const apiKeyId = registration?.apiKeyId
  if (registration === undefined || apiKeyId === null || apiKeyId === undefined) throw idempotencyInProgress()
  const answer = unsealEarlier(registration, identity)
  const key = { keyId: apiKeyId, value: answer.apiKeyValue, tokenId: registration.tokenId }
  const until = () => (call.isGone() ? null : call.readyBy)
  const ready = call.readyBy === null ? null : ((await deps.keyProbe?.untilAccepted(key, until)) ?? null)
  // Before the answer: what nobody was answered is undone after a day, and this must not be.
  const answered = await deps.store.markAnswered(id, call.actor, deps.clock())
  if (answered === undefined) throw idempotencyInProgress()
  return { registration, apiKeyId, answer, replaced: answered.replaced, ready, replayed: true }
}

function unsealEarlier({ id, idempotency }: Registration, identity: RequestIdentity): CredentialSecrets {
  if (idempotency === null) throw idempotencyInProgress() // Forgotten since it was looked up.
  return unsealCredential(identity, id, idempotency.sealed)
}
