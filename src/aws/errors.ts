import { APIGatewayServiceException, TooManyRequestsException } from '@aws-sdk/client-api-gateway'
import { ServiceError } from '../errors.ts'

/** Seconds to wait if API Gateway names none: its burst allowance refills within this time. */
const DEFAULT_RETRY_AFTER_S = 5

const CREDENTIAL_FAULTS = new Set(['CredentialsProviderError', 'TokenProviderError', 'ProviderError'])
const HOST_FAULTS = new Set(['ENOTFOUND', 'ERR_INVALID_URL'])

/**
 * Maps an error of a call to API Gateway to a ServiceError with the original as its cause: `upstream_throttled`,
 * `key_quota_reached`, `upstream_misconfigured` (access denied, unknown plan, request rejected) or
 * `upstream_unavailable` (time-out, broken connection, 5xx). `effect` says whether the call may have taken effect.
 * @param doing the operation, as in "create an API key"
 * @param missing the subject of a NotFoundException
 */
export function toServiceError(
  error: unknown,
  doing: string,
  missing = 'the usage plan or the key',
): ServiceError {
  if (error instanceof ServiceError) return error
  const { name, status, attempts } = describe(error)
  // Only a response to the first attempt is conclusive: an earlier attempt that timed out may have taken effect.
  const effect = status >= 400 && status < 500 && attempts === 1 ? 'none' : 'possible'
  const options = { cause: error, effect } as const

  if (name === 'LimitExceededException') {
    return new ServiceError('key_quota_reached', "The account's API key quota is used up.", options)
  }
  if (status === 429) {
    return new ServiceError('upstream_throttled', 'API Gateway is throttling requests.', {
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
  if (CREDENTIAL_FAULTS.has(name)) {
    const detail = `The service has no usable AWS credentials to ${doing}.`
    return new ServiceError('upstream_misconfigured', detail, options)
  }
  if (name === 'NotFoundException') {
    const detail = `API Gateway cannot ${doing}: ${missing} does not exist.`
    return new ServiceError('upstream_misconfigured', detail, options)
  }
  if (status >= 400 && status < 500) {
    const isDenied = status === 401 || status === 403
    const detail = isDenied
      ? `API Gateway does not allow the service to ${doing}.`
      : `API Gateway rejected the request to ${doing}.`
    return new ServiceError('upstream_misconfigured', detail, options)
  }
  return new ServiceError(
    'upstream_unavailable',
    `API Gateway failed or did not respond when asked to ${doing}.`,
    {
      ...options,
      retryAfter: DEFAULT_RETRY_AFTER_S,
    },
  )
}

/** Returns `true` if no request can succeed until the configuration is changed. */
export function isMisconfigured(error: ServiceError): boolean {
  return error.code === 'upstream_misconfigured' || HOST_FAULTS.has(describe(error.cause).code)
}

/**
 * Returns an error that API Gateway responded with, such as `ConflictException`; `undefined` for any other error.
 * `status` is 0 if it is unknown.
 */
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
