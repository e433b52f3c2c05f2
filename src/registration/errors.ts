import { ServiceError } from '../errors.ts'
import type { Registration } from '../store/records.ts'
import { isDue } from './lifecycle.ts'

/** Its keys were taken back, or their time is over. */
export function registrationEnded(): ServiceError {
  return new ServiceError('registration_ended', 'The key of this registration has expired or was revoked.')
}

/** The error for a retry whose key is returned no more; `undefined`: it has not ended. */
export function endedError(one: Registration, now: number): ServiceError | undefined {
  if (one.endReason === 'rotated') {
    return new ServiceError('key_replaced', 'The key that this request was given has been rotated since.')
  }
  const isOver = one.status === 'ended' || one.status === 'ending' || isDue(one, now)
  return isOver ? registrationEnded() : undefined
}

export function rotationInProgress(): ServiceError {
  return new ServiceError(
    'rotation_in_progress',
    'Another rotation of this registration is being worked on.',
    {
      retryAfter: 1,
    },
  )
}
