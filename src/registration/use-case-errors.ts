import type { Caller } from '../auth/bootstrap-token.ts'
import { ServiceError } from '../errors.ts'
import type { RotationRefusal } from '../store/minting.ts'
import type { Registration } from '../store/records.ts'
import type { RegistrationDeps } from './deps.ts'
import { isAbandoned, isDue, isSuspended } from './lifecycle.ts'
import { CLOCK_MS, inSeconds, SLOWNESS_MS, untilRecovered, untilUndone } from './retry-after.ts'
import type { Timing } from './timing.ts'
import { usesPending } from './token-uses.ts'

/** The key of the registration was revoked or has expired. Final. */
export function registrationEnded(): ServiceError {
  return new ServiceError('registration_ended', 'The key of this registration has expired or was revoked.')
}

/** An operator suspended the key of the registration. Only an operator can change that. */
export function registrationSuspended(): ServiceError {
  return new ServiceError('registration_suspended', 'An operator has suspended the key of this registration.')
}

/** The error for a retry whose key is not returned: it has ended, was replaced or is suspended. `undefined`: it is returned. */
export function withheldError(one: Registration, now: number): ServiceError | undefined {
  if (one.endReason === 'rotated') {
    return new ServiceError('key_replaced', 'A rotation has replaced the key of this request.')
  }
  const isOver = one.status === 'ended' || one.status === 'ending' || isDue(one, now)
  if (isOver) return registrationEnded()
  return isSuspended(one) ? registrationSuspended() : undefined
}

/** The error for a rotation that the store refuses. @throws ServiceError of the store */
export async function rotationRefused(
  refusal: RotationRefusal,
  deps: RegistrationDeps,
): Promise<ServiceError> {
  switch (refusal) {
    case 'ended':
      return registrationEnded()
    case 'suspended':
      return registrationSuspended()
    case 'busy':
      return rotationInProgress(deps.timing)
    case 'deleting':
      return earlierKeyRemains(deps)
  }
}

/** Another rotation of the registration is pending. Retryable: it is completed, or its worker dies and it is undone. */
function rotationInProgress(timing: Timing): ServiceError {
  const detail = 'Another rotation of this registration is in progress.'
  return new ServiceError('rotation_in_progress', detail, { retryAfter: inSeconds(untilUndone(timing)) })
}

/** The due deletions that are counted at most. */
const MOST_COUNTED = 100

/**
 * An earlier key of the registration still has to be deleted. Retryable: replaced keys are deleted after all that are due; while
 * the clock is wrong, after it was set right.
 */
async function earlierKeyRemains({
  store,
  clock,
  clockCheck,
  timing,
}: RegistrationDeps): Promise<ServiceError> {
  const { length } = await store.listDue(clock(), MOST_COUNTED)
  // If none is due, a deletion failed and is tried again.
  const untilFirst = timing.end + (length === 0 ? timing.endRetry : 0)
  const ms = untilFirst + (length + 2) * timing.endSpacing + (clockCheck.ahead() === 0 ? 0 : CLOCK_MS)
  const detail = 'An earlier key of this registration is still being deleted.'
  return new ServiceError('rotation_in_progress', detail, { retryAfter: inSeconds(ms) })
}

/** A request with the same idempotency key is in progress. Retryable: it is done, or its lease has expired by then. */
export function idempotencyInProgress({ lease }: Timing): ServiceError {
  const detail = 'A request with this Idempotency-Key is in progress.'
  return new ServiceError('idempotency_in_progress', detail, { retryAfter: inSeconds(lease) })
}

/** An earlier request with the same idempotency key is being undone. Retryable: after that a retry begins anew. */
export function beingUndone(timing: Timing): ServiceError {
  const detail = 'The earlier request with this Idempotency-Key is being undone.'
  return new ServiceError('idempotency_in_progress', detail, { retryAfter: inSeconds(untilUndone(timing)) })
}

/**
 * The credential of a federated caller can be used once, and was used. As a bootstrap token with one use, a token of the token
 * endpoint may become free again.
 * @param holder the registration or rotation that it was used for; `undefined`: a token of the token endpoint
 * @throws ServiceError of the store
 */
export async function whyReplayed(
  { tokenUses }: Pick<RegistrationDeps, 'tokenUses'>,
  kind: Caller['kind'] | null,
  holder: Registration | undefined,
): Promise<ServiceError> {
  if (kind === 'identity token') {
    return new ServiceError(
      'token_replayed',
      'This identity token was already used, with another Idempotency-Key.',
    )
  }
  const ms = holder && (await tokenUses.untilFree(holder))
  if (ms !== undefined) return usesPending(ms)
  return new ServiceError('token_exhausted', 'The only use of the token is spent.', {
    nextStep: 'Get a new token from the token endpoint.',
  })
}

/** Another request registers the same name of the same identity. Retryable. @param ms until it is finished, in milliseconds */
export function nameInProgress(ms: number): ServiceError {
  const detail = 'Another request of this identity for the same name is in progress.'
  return new ServiceError('idempotency_in_progress', detail, { retryAfter: inSeconds(ms) })
}

/** A registration of the same identity took the name since it was looked for. Retryable: if it is alive, at once. */
export async function nameTaken(
  { store, timing }: Pick<RegistrationDeps, 'store' | 'timing'>,
  registrationId: string,
): Promise<ServiceError> {
  const holder = await store.getRegistration(registrationId)
  if (holder?.status === 'pending') return nameInProgress(timing.lease)
  return nameInProgress(holder !== undefined && isAbandoned(holder) ? untilRecovered(timing) : 0)
}

/** A response with the key of this name may be on its way. Retryable. @param ms until that is settled, in milliseconds */
export function unreceived(ms: number): ServiceError {
  const detail = 'This identity has just registered this name, and may be receiving the key.'
  return new ServiceError('idempotency_in_progress', detail, { retryAfter: inSeconds(ms) })
}

/** The identity has a registration with this name, and its rule refuses another. @param url where it is managed */
export function alreadyRegistered(url: string): ServiceError {
  return new ServiceError('already_registered', `The registration is ${url}.`)
}

/** The deadline of the callers passed before the key could be recorded. @param ms when a retry can succeed, in milliseconds */
export function outOfTime(ms: number): ServiceError {
  const detail = 'The registration could not be finished in time.'
  return new ServiceError('upstream_unavailable', detail, { retryAfter: inSeconds(ms) })
}

/** All callers disconnected before the key could be recorded. */
export function clientClosed(): ServiceError {
  const detail = 'The client disconnected before the key was recorded.'
  return new ServiceError('upstream_unavailable', detail, {
    retryAfter: inSeconds(SLOWNESS_MS),
    clientClosed: true,
  })
}

/** The lease expired, and recovery or a retry in another process took the registration over. */
export function takenOver(timing: Timing): ServiceError {
  const detail = 'The registration took too long, and another process took it over.'
  return new ServiceError('upstream_unavailable', detail, { retryAfter: inSeconds(untilRecovered(timing)) })
}

/** The queue is full, or too long for the deadline. @param ms how long the queued registrations take, in milliseconds */
export function overloaded(ms: number): ServiceError {
  return new ServiceError('overloaded', 'Too many registrations are waiting for API Gateway.', {
    retryAfter: inSeconds(ms),
  })
}
