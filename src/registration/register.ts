import { type Caller, whyUnusable } from '../auth/bootstrap-token.ts'
import { createSecret, hashSecret, randomBase62 } from '../auth/secret.ts'
import { ServiceError } from '../errors.ts'
import type { NewRegistration, Registration } from '../store/store.ts'
import type { Credential, RegisterDeps, RegistrationCall } from './context.ts'
import { withDeadline } from './deadline.ts'
import { finish } from './finish.ts'
import {
  identifyRequest,
  type RequestIdentity,
  requireSameRequest,
  type SealedAnswer,
  sealAnswer,
  unsealAnswer,
} from './idempotency.ts'
import { checkName, choosePlan } from './policy.ts'

/** Letters and digits in a key's value: 238 bits, and the only characters API Gateway surely takes. */
const KEY_VALUE_LENGTH = 40

/** What the client asks for, validated. */
export interface RegistrationRequest {
  readonly name: string
  readonly description: string
  readonly plan: string | undefined
  readonly idempotencyKey: string | undefined
}

/**
 * One registration: spends a use of the token and records the intent, makes the key, records the success. Where that
 * fails, the key is removed again and the use given back, after the answer if need be. With an idempotency key the
 * same request gets the same credential, whatever broke in between, for a day.
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
  if (idempotencyKey === undefined) {
    return withDeadline(call.timeoutMs, (late) =>
      deps.inFlight.start(() => begin(deps, caller, request, null, call, late)),
    )
  }
  const identity = identifyRequest({ bootstrapSecret: caller.secret, idempotencyKey }, [
    name,
    description,
    plan,
  ])
  return withDeadline(call.timeoutMs, async (late) => {
    const running = deps.inFlight.join(identity.keyHash)
    if (running === undefined) {
      return deps.inFlight.start(() => lookUp(deps, caller, request, identity, call, late), identity)
    }
    requireSameRequest(identity, running)
    const { registration } = await running.result
    return replay(deps, registration, identity)
  })
}

/** Answers from an earlier request with the same idempotency key, or begins. */
async function lookUp(
  deps: RegisterDeps,
  caller: Caller,
  request: RegistrationRequest,
  identity: RequestIdentity,
  call: RegistrationCall,
  late: AbortSignal,
): Promise<Credential> {
  // A revoked token's answers are destroyed. One that expired since, or was spent, may still ask for what it has.
  if (caller.token.revokedAt === null) {
    const rememberedSince = deps.clock() - deps.timing.idempotency
    const earlier = await deps.store.findByIdempotencyKey(caller.token.id, identity.keyHash)
    if (earlier !== undefined && earlier.createdAt >= rememberedSince) {
      return continueEarlier(deps, earlier, identity, call, late)
    }
    // Forgotten here too, and not only on the timer: of two requests after the day, one must not still be a replay.
    if (earlier !== undefined) await deps.store.forgetIdempotency(rememberedSince)
  }
  return begin(deps, caller, request, identity, call, late)
}

async function continueEarlier(
  deps: RegisterDeps,
  earlier: Registration,
  identity: RequestIdentity,
  call: RegistrationCall,
  late: AbortSignal,
): Promise<Credential> {
  const { clock, inFlight, store, timing } = deps
  requireSameRequest(identity, earlier.idempotency ?? identity)
  if (earlier.status === 'active') return replay(deps, earlier, identity)
  // Pending: somebody works on it, or the process that did is dead and this one goes on where it stopped.
  const owner = `${inFlight.ownerPrefix}${randomBase62(8)}`
  const now = clock()
  if (
    earlier.undoing ||
    !(await store.takeLease(earlier.id, 'pending', { owner, until: now + timing.lease }, now))
  )
    throw inProgress()
  const answer = unsealEarlier(earlier, identity)
  const credential = await finish(deps, { registration: earlier, answer, owner }, call, late)
  return { ...credential, replayed: true }
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

function inProgress(): ServiceError {
  return new ServiceError(
    'idempotency_in_progress',
    'A request with this Idempotency-Key is being worked on.',
    {
      retryAfter: 1,
    },
  )
}

async function begin(
  deps: RegisterDeps,
  { token }: Caller,
  request: RegistrationRequest,
  identity: RequestIdentity | null,
  call: RegistrationCall,
  late: AbortSignal,
): Promise<Credential> {
  const { clock, config, inFlight, store, timing } = deps
  const now = clock()
  const unusable = whyUnusable(token, now)
  if (unusable !== undefined) throw unusable
  checkName(token, request.name)
  const plan = choosePlan(config.plans, token, request.plan)

  const id = `reg_${randomBase62(20)}`
  const answer: SealedAnswer = {
    apiKeyValue: randomBase62(KEY_VALUE_LENGTH),
    managementToken: createSecret('fkm_'),
    publicUrl: config.publicUrl,
    apiBaseUrl: config.apiBaseUrl,
  }
  const registration: NewRegistration = {
    id,
    tokenId: token.id,
    name: request.name,
    description: request.description,
    plan: plan.name,
    usagePlanId: plan.usagePlanId,
    managementHash: hashSecret(answer.managementToken),
    createdAt: now,
    expiresAt: token.keyTtlMs === null ? null : now + token.keyTtlMs,
    idempotency: identity === null ? null : sealAnswer(identity, id, answer),
  }
  const owner = `${inFlight.ownerPrefix}${randomBase62(8)}`
  const begun = await store.beginRegistration(registration, { owner, until: now + timing.lease })
  if (begun.outcome === 'duplicate') throw inProgress()
  if (begun.outcome === 'refused') {
    // It lost its last use, or was revoked, since the first look.
    const reason = begun.token && whyUnusable(begun.token, now)
    throw reason ?? new ServiceError('invalid_token', 'The bootstrap token is not known here.')
  }
  return finish(deps, { registration, answer, owner }, call, late)
}
