import { ServiceError } from '../errors.ts'
import type { Registration } from '../store/records.ts'

/** Its keys were taken back, or their time is over. */
export function registrationEnded(): ServiceError {
  return new ServiceError('registration_ended', 'The key of this registration has expired or was revoked.')
}

/** Why the key of a registration or rotation is handed out no more; `undefined`: it is not over. */
export function whyOver({ status, endReason, endsAt }: Registration, now: number): ServiceError | undefined {
  if (endReason === 'rotated') {
    return new ServiceError('key_replaced', 'The key that this request was given has been rotated since.')
  }
  if (status === 'ending' || status === 'ended') return registrationEnded()
  return status === 'active' && endsAt !== null && endsAt <= now ? registrationEnded() : undefined
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
