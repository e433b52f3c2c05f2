import { APIGatewayServiceException, TooManyRequestsException } from '@aws-sdk/client-api-gateway'
import { ServiceError } from '../errors.ts'

/** Seconds to wait where API Gateway names none: its burst allowance refills within this time. */
const DEFAULT_RETRY_AFTER_S = 5

const CREDENTIAL_FAULTS = new Set(['CredentialsProviderError', 'TokenProviderError', 'ProviderError'])
const HOST_FAULTS = new Set(['ENOTFOUND', 'ERR_INVALID_URL'])

/**
 * What a failed call to API Gateway means to the service, as one of its own errors with the original as cause:
 * `upstream_throttled`, `key_quota_reached`, `upstream_misconfigured` (denied, unknown plan, refused request) or
 * `upstream_unavailable` (time-out, cut connection, 5xx). `effect` says whether the call may have taken effect.
 */
export function toServiceError(error: unknown, doing: string): ServiceError {
  if (error instanceof ServiceError) return error
  const { name, status, attempts } = describe(error)
  // Only an answer to the first attempt is certain: an earlier attempt that timed out may have worked.
  const effect = status >= 400 && status < 500 && attempts === 1 ? 'none' : 'possible'
  const options = { cause: error, effect } as const

  if (name === 'LimitExceededException') {
    return new ServiceError('key_quota_reached', 'The account holds as many API keys as it may.', options)
  }
  if (status === 429) {
    return new ServiceError('upstream_throttled', 'API Gateway asks to slow down.', {
      ...options,
      retryAfter: retryAfter(error),
    })
  }
  if (status === 409) {
    return new ServiceError('upstream_unavailable', 'API Gateway is busy with other changes.', {
      ...options,
      retryAfter: DEFAULT_RETRY_AFTER_S,
    })
  }
  if (CREDENTIAL_FAULTS.has(name) || (status >= 400 && status < 500)) {
    return new ServiceError(
      'upstream_misconfigured',
      `API Gateway does not let the service ${doing}.`,
      options,
    )
  }
  return new ServiceError('upstream_unavailable', `API Gateway did not answer when asked to ${doing}.`, {
    ...options,
    retryAfter: DEFAULT_RETRY_AFTER_S,
  })
}

/** Whether `error` says that no request can succeed until the configuration is changed. */
export function isMisconfigured(error: ServiceError): boolean {
  return error.code === 'upstream_misconfigured' || HOST_FAULTS.has(describe(error.cause).code)
}

/** `ConflictException` and the like: an error that API Gateway answered, or `undefined`. `status` 0: unknown. */
export function answeredError(error: unknown): { name: string; message: string; status: number } | undefined {
  if (!(error instanceof APIGatewayServiceException)) return undefined
  return { name: error.name, message: error.message, status: error.$metadata.httpStatusCode ?? 0 }
}

function describe(error: unknown): { name: string; code: string; status: number; attempts: number } {
  if (!(error instanceof Error)) return { name: '', code: '', status: 0, attempts: 0 }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const metadata = error instanceof APIGatewayServiceException ? error.$metadata : {}
  return { name: error.name, code, status: metadata.httpStatusCode ?? 0, attempts: metadata.attempts ?? 0 }
}

function retryAfter(error: unknown): number {
  const seconds = error instanceof TooManyRequestsException ? Number(error.retryAfterSeconds) : Number.NaN
  return seconds > 0 ? Math.ceil(seconds) : DEFAULT_RETRY_AFTER_S
}
