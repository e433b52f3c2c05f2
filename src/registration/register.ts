import { type Caller, whyUnusable } from '../auth/bootstrap-token.ts'
import type { Registration } from '../store/store.ts'
import type { Batcher } from './batcher.ts'
import type { Credential, RegistrationCall, RegistrationDeps } from './context.ts'
import { withDeadline } from './deadline.ts'
import {
  identifyRequest,
  inProgress,
  type RequestIdentity,
  requireSameRequest,
  type SealedAnswer,
  unsealAnswer,
} from './idempotency.ts'
import type { InFlight, Waiter } from './in-flight.ts'
import type { Order } from './order.ts'
import { checkName, choosePlan } from './policy.ts'

export interface RegisterDeps extends RegistrationDeps {
  readonly inFlight: InFlight<Credential>
  readonly batcher: Batcher
}

/** What the client asks for, validated. */
export interface RegistrationRequest {
  readonly name: string
  readonly description: string
  readonly plan: string | undefined
  readonly idempotencyKey: string | undefined
}

/** One request on its way, and how it is answered in time. */
interface Attempt {
  readonly caller: Caller
  readonly request: RegistrationRequest
  readonly identity: RequestIdentity | null
  readonly call: RegistrationCall
  readonly waiters: Waiter[]
  readonly answerBy: number
}

/**
 * One registration: spends a use of the token and records the intent, makes the key, records the success; together
 * with those that wait at the same time. Where that fails, the key is removed again and the use given back, after the
 * answer if need be. With an idempotency key the same request gets the same credential, whatever broke in between, for
 * a day.
 * @throws ServiceError every code of the token's policy, of idempotency, of API Gateway and of the store; `overloaded`;
 *   `upstream_unavailable` when the time is over
 */
export async function register(
  deps: RegisterDeps,
  caller: Caller,
  request: RegistrationRequest,
  call: RegistrationCall,
): Promise<Credential> {
  const { idempotencyKey, name, description, plan } = request
  const answerBy = performance.now() + call.timeoutMs
  const identity =
    idempotencyKey === undefined
      ? null
      : identifyRequest({ bootstrapSecret: caller.secret, idempotencyKey }, [name, description, plan])
  return withDeadline(call.timeoutMs, async (isLate) => {
    const waiters: Waiter[] = [() => !isLate() && !call.isGone()]
    const attempt: Attempt = { caller, request, identity, call, waiters, answerBy }
    if (identity === null) return deps.inFlight.start(() => begin(deps, attempt))
    const running = deps.inFlight.find(identity.keyHash)
    if (running === undefined) {
      return deps.inFlight.start(() => lookUp(deps, attempt, identity), { ...identity, waiters })
    }
    requireSameRequest(identity, running)
    running.waiters.push(...waiters)
    const { registration } = await running.result
    return replay(deps, registration, identity)
  })
}

/** Answers from an earlier request with the same idempotency key, or begins. */
async function lookUp(deps: RegisterDeps, attempt: Attempt, identity: RequestIdentity): Promise<Credential> {
  const { token } = attempt.caller
  // A revoked token's answers are destroyed. One that expired since, or was spent, may still ask for what it has.
  if (token.revokedAt === null) {
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
  deps: RegisterDeps,
  attempt: Attempt,
  earlier: Registration,
  identity: RequestIdentity,
): Promise<Credential> {
  requireSameRequest(identity, earlier.idempotency ?? identity)
  if (earlier.status === 'active') return replay(deps, earlier, identity)
  if (earlier.undoing) throw inProgress()
  // Pending: somebody works on it, or the process that did is dead and this one goes on where it stopped.
  const { clock, leases, store } = deps
  const lease = leases.hold()
  const { id, plan: name, usagePlanId } = earlier
  try {
    if (!(await store.takeLeases([id], 'pending', lease, clock())).has(id)) throw inProgress()
    const answer = unsealEarlier(earlier, identity)
    const begun = { id, owner: lease.owner, registration: earlier, answer }
    return await deps.batcher.submit(toOrder(attempt, { name, usagePlanId }, begun))
  } catch (error) {
    // Otherwise it lapses by itself.
    await store.releaseLeases([{ id, owner: lease.owner }]).catch(() => undefined)
    throw error
  } finally {
    leases.drop(lease.owner)
  }
}

async function begin(deps: RegisterDeps, attempt: Attempt): Promise<Credential> {
  const { token } = attempt.caller
  const unusable = whyUnusable(token, deps.clock())
  if (unusable !== undefined) throw unusable
  checkName(token, attempt.request.name)
  const plan = choosePlan(deps.config.plans, token, attempt.request.plan)
  return deps.batcher.submit(toOrder(attempt, plan, null))
}

function toOrder(
  { caller, request, identity, call, waiters, answerBy }: Attempt,
  plan: Order['plan'],
  begun: Order['begun'],
): Omit<Order, 'resolve' | 'reject'> {
  const { name, description } = request
  return { token: caller.token, name, description, plan, identity, begun, call, waiters, answerBy }
}

/** The credential of a registration that is active, for the caller who can unseal it. */
async function replay(
  deps: RegisterDeps,
  { id }: Pick<Registration, 'id'>,
  identity: RequestIdentity,
): Promise<Credential> {
  const registration = await deps.store.getRegistration(id)
  const apiKeyId = registration?.apiKeyId
  if (registration === undefined || apiKeyId === null || apiKeyId === undefined) throw inProgress()
  const answer = unsealEarlier(registration, identity)
  // Before the answer: what nobody was answered is undone after a day, and this must not be.
  if (!(await deps.store.markAnswered(id, deps.clock()))) throw inProgress()
  return { registration, apiKeyId, answer, replayed: true }
}

function unsealEarlier({ id, idempotency }: Registration, identity: RequestIdentity): SealedAnswer {
  if (idempotency === null) throw inProgress() // Forgotten since it was looked up.
  return unsealAnswer(identity, id, idempotency.sealed)
}
