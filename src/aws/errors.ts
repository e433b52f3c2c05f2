import { APIGatewayServiceException, TooManyRequestsException } from '@aws-sdk/client-api-gateway'
import { ServiceError } from '../errors.ts'
import { credentialFault, metadataOf } from './credentials.ts'

/** Seconds to wait if API Gateway names none: its burst allowance refills within this time. */
const DEFAULT_RETRY_AFTER_S = 5
/** Seconds to wait after a fault that may need an operator, or AWS, to pass. */
const LONG_RETRY_AFTER_S = 30

const THROTTLED = new Set(['ThrottlingException', 'Throttling', 'RequestLimitExceeded'])
/** Errors that do not pass until an operator changes the policy or the account. */
const DENIED = new Set([
  ...['AccessDeniedException', 'AccessDenied', 'UnauthorizedException', 'ForbiddenException'],
  ...['MissingAuthenticationTokenException', 'OptInRequired', 'SubscriptionRequiredException'],
])
/** Errors about the content of a request: it would be rejected again. */
const REJECTED = new Set(['BadRequestException', 'ValidationException', 'RequestEntityTooLargeException'])
const TOO_LARGE = 413

/** Errors of Node.js for a request that it cannot send: of a header or a URL. */
const NOT_SENDABLE = /^ERR_(INVALID|HTTP_INVALID|UNESCAPED|SOCKET_BAD|MISSING_ARGS)_/
/** Errors of the TLS handshake, before anything is sent: of the other side's certificate, or because it speaks no TLS. */
const UNTRUSTED =
  /^(CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|ERR_TLS_CERT)/
const NO_TLS =
  /wrong version number|packet length too long|unsupported protocol|protocol version|handshake failure|http request/i
const UNKNOWN_HOST = 'ENOTFOUND'
/** The error of Node.js if a proxy sets up no tunnel, and the status of a proxy that requires other credentials. */
const NO_TUNNEL = 'ERR_PROXY_TUNNEL'
const PROXY_AUTHENTICATION = 407

/**
 * The kind of a failure. `quota`: the account has no room for a key. `conflict`: a 409. `credentials`: AWS does not accept
 * the credentials, or there are none, which may pass. `denied`: an operator has to change the credentials or the policy.
 * `missing`: a 404 for a plan or a key. `rejected`: API Gateway rejects the content of the request. `unsent`: nothing can be
 * sent with this configuration. `proxy`: the proxy refuses to send it. `insecure`: no TLS connection. `unclear`: any other error, known or not.
 */
export type FaultKind =
  | 'quota'
  | 'throttled'
  | 'conflict'
  | 'credentials'
  | 'denied'
  | 'missing'
  | 'rejected'
  | 'unsent'
  | 'proxy'
  | 'insecure'
  | 'unclear'

export function kindOf(error: unknown): FaultKind {
  if (!(error instanceof Error)) return 'unclear'
  const { name, code, status } = describeError(error)
  if (name === 'LimitExceededException') return 'quota'
  if (status === 429 || THROTTLED.has(name)) return 'throttled'
  if (status === 409) return 'conflict'
  const fault = credentialFault(error)
  if (fault !== undefined) return fault === 'wrong' ? 'denied' : 'credentials'
  if (DENIED.has(name)) return 'denied'
  if (name === 'NotFoundException') return 'missing'
  if (REJECTED.has(name) || status === TOO_LARGE) return 'rejected'
  if (NOT_SENDABLE.test(code)) return 'unsent'
  if (isRefusedByProxy(error, code)) return 'proxy'
  if (UNTRUSTED.test(code) || (/^(EPROTO|ERR_SSL_)/.test(code) && NO_TLS.test(error.message)))
    return 'insecure'
  return 'unclear'
}

/**
 * Maps an error of a call to API Gateway to a ServiceError with the original as its cause: `upstream_throttled`,
 * `key_quota_reached`, `upstream_misconfigured` (only what an operator has to correct), or `upstream_unavailable` (all that
 * may pass). `effect` says whether the call may have taken effect.
 * @param doing the operation, as in "create an API key"
 * @param subject the subject of a NotFoundException. A missing plan needs an operator; a key may have been undone by another
 *   process.
 */
export function toServiceError(error: unknown, doing: string, subject: 'plan' | 'key' = 'key'): ServiceError {
  if (error instanceof ServiceError) return error
  const kind = kindOf(error)
  const { status, attempts } = describeError(error)
  const isRefusal = status >= 400 && status < 500
  const isConclusive = isRefusal || (status === 0 && kind !== 'unclear')
  // Only a first attempt is conclusive: an earlier one that got no response may have taken effect.
  const options = { cause: error, effect: isConclusive && attempts <= 1 ? 'none' : 'possible' } as const
  const misconfigured = (detail: string) => new ServiceError('upstream_misconfigured', detail, options)
  const unavailable = (detail: string, retryAfter: number) =>
    new ServiceError('upstream_unavailable', detail, { ...options, retryAfter })
  switch (kind) {
    case 'quota':
      return new ServiceError('key_quota_reached', "The account's API key quota is used up.", options)
    case 'throttled': {
      const detail = 'API Gateway is throttling requests.'
      return new ServiceError('upstream_throttled', detail, { ...options, retryAfter: retryAfter(error) })
    }
    case 'conflict':
      return unavailable('API Gateway is busy with other changes.', DEFAULT_RETRY_AFTER_S)
    case 'credentials':
      return unavailable(`The service has no usable AWS credentials to ${doing}.`, LONG_RETRY_AFTER_S)
    case 'denied':
      return misconfigured(`API Gateway does not allow the service to ${doing}.`)
    case 'missing':
      if (subject === 'plan')
        return misconfigured(`API Gateway cannot ${doing}: the usage plan does not exist.`)
      return unavailable(
        `API Gateway cannot ${doing}: the key does not exist any more.`,
        DEFAULT_RETRY_AFTER_S,
      )
    case 'rejected':
      return misconfigured(`API Gateway rejected the request to ${doing}.`)
    case 'unsent':
      return misconfigured(`The service cannot send a request to ${doing}: its configuration is not valid.`)
    case 'proxy':
      return misconfigured(`The proxy of the service does not let it ${doing} in API Gateway.`)
    case 'insecure':
      return misconfigured(`The service cannot set up a secure connection to API Gateway to ${doing}.`)
    case 'unclear':
      return unavailable(
        `API Gateway failed or did not respond when asked to ${doing}.`,
        isRefusal ? LONG_RETRY_AFTER_S : DEFAULT_RETRY_AFTER_S,
      )
  }
}

/**
 * Reports whether an endpoint lacks an operation: it knows no such path or method, or answers with something else, such as a
 * page. AWS has every operation; other endpoints may not, for example emulators. A missing plan or key is another error.
 */
export function isUnsupported(error: unknown): boolean {
  const { httpStatusCode: status = 0 } = metadataOf(error)
  if (status >= 200 && status < 300) return true // The SDK could not read the response.
  return status === 405 || status === 501 || (status === 404 && kindOf(error) !== 'missing')
}

/**
 * Maps an error of a read that the service can do without: `upstream_unsupported` if {@link isUnsupported}, otherwise as
 * {@link toServiceError}.
 */
export function toReadError(error: unknown, doing: string): ServiceError {
  if (!isUnsupported(error)) return toServiceError(error, doing)
  return new ServiceError('upstream_unsupported', `API Gateway here cannot ${doing}.`, { cause: error })
}

/** Returns `true` if a service that starts with this error should not: it does not pass without an operator, or seldom. */
export function preventsStart({ code, cause }: ServiceError): boolean {
  // Without a cause: a plan without an API stage, which is set right in AWS while the service runs.
  if (code === 'upstream_misconfigured') return cause !== undefined
  return (
    code === 'upstream_unavailable' &&
    (kindOf(cause) === 'credentials' || describeError(cause).code === UNKNOWN_HOST)
  )
}

/**
 * Returns an error that API Gateway responded with, such as `ConflictException`; `undefined` for any other error.
 * `status` is 0 if it is unknown.
 */
export function answeredError(error: unknown): { name: string; message: string; status: number } | undefined {
  if (!(error instanceof APIGatewayServiceException)) return undefined
  return { name: error.name, message: error.message, status: error.$metadata.httpStatusCode ?? 0 }
}

interface Description {
  readonly name: string
  readonly message: string
  readonly code: string
  readonly status: number
  readonly attempts: number
}

/** Describes an error of a call. `status` is 0 without a response; `attempts` is 0 if the SDK counted none. */
export function describeError(error: unknown): Description {
  if (!(error instanceof Error)) return { name: '', message: String(error), code: '', status: 0, attempts: 0 }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const { httpStatusCode = 0, attempts = 0 } = metadataOf(error)
  const status = error instanceof APIGatewayServiceException ? httpStatusCode : 0
  return { name: error.name, message: error.message, code, status, attempts }
}

/** Reports whether a proxy refused a request for what it is; any other failure of a proxy may pass. */
function isRefusedByProxy(error: Error, code: string): boolean {
  const { httpStatusCode } = metadataOf(error)
  if (httpStatusCode === PROXY_AUTHENTICATION) return true
  return code === NO_TUNNEL && 'statusCode' in error && /^4/.test(String(error.statusCode))
}

function retryAfter(error: unknown): number {
  const seconds = error instanceof TooManyRequestsException ? Number(error.retryAfterSeconds) : Number.NaN
  return seconds > 0 ? Math.ceil(seconds) : DEFAULT_RETRY_AFTER_S
}
