import { ServiceError } from '../errors.ts'
import type { Registration } from '../store/records.ts'
import { isDue, isSuspended } from './lifecycle.ts'
import type { Timing } from './timing.ts'

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

/** Another rotation of the registration is pending. Retryable. */
export function rotationInProgress(): ServiceError {
  const detail = 'Another rotation of this registration is in progress.'
  return new ServiceError('rotation_in_progress', detail, { retryAfter: 1 })
}

/** An earlier key of the registration still has to be deleted. Retryable: a round of deletions starts every `timing.end`. */
export function earlierKeyRemains({ end, endSpacing }: Pick<Timing, 'end' | 'endSpacing'>): ServiceError {
  const detail = 'An earlier key of this registration is still being deleted.'
  const retryAfter = Math.max(1, Math.ceil((end + 2 * endSpacing) / 1_000))
  return new ServiceError('rotation_in_progress', detail, { retryAfter })
}

/** A request with the same idempotency key is in progress. Retryable. */
export function idempotencyInProgress(): ServiceError {
  const detail = 'A request with this Idempotency-Key is in progress.'
  return new ServiceError('idempotency_in_progress', detail, { retryAfter: 1 })
}

/** The deadline of the callers passed before the key could be recorded. */
export function outOfTime(): ServiceError {
  const detail = 'The registration could not be finished in time.'
  return new ServiceError('upstream_unavailable', detail, { retryAfter: 5 })
}

/** All callers disconnected before the key could be recorded. */
export function clientClosed(): ServiceError {
  const detail = 'The client disconnected before the key was recorded.'
  return new ServiceError('upstream_unavailable', detail, { retryAfter: 5, clientClosed: true })
}

/** The lease expired, and recovery or a retry in another process took the registration over. */
export function takenOver(): ServiceError {
  const detail = 'The registration took too long, and another process took it over.'
  return new ServiceError('upstream_unavailable', detail, { retryAfter: 1 })
}

/** The queue is full, or too long for the deadline. @param ms how long the queued registrations take, in milliseconds */
export function overloaded(ms: number): ServiceError {
  return new ServiceError('overloaded', 'Too many registrations are waiting for API Gateway.', {
    retryAfter: Math.max(1, Math.ceil(ms / 1_000)),
  })
}
