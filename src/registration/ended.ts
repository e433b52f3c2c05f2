import { ServiceError } from '../errors.ts'

/** Its keys were taken back, or their time is over. */
export function registrationEnded(): ServiceError {
  return new ServiceError('registration_ended', 'The key of this registration has expired or was revoked.')
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
