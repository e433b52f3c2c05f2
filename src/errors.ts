import { type ErrorCode, errorCatalogue } from './error-catalogue.ts'

/** Returns how the log and the store name a failure: by the code of the error, or as `client_closed`. */
export function failureOf(error: unknown): ErrorCode | 'client_closed' {
  if (!(error instanceof ServiceError)) return 'internal'
  return error.clientClosed ? 'client_closed' : error.code
}

/** One error in one field. `path` is a JSON Pointer (RFC 6901) into the body or the query; `""` is the whole body. */
export interface FieldError {
  readonly path: string
  readonly message: string
}

/** The identity that an identity token shows. The audit trail stores it, as `AuditIdentity` of store/audit.ts. */
export interface ShownIdentity {
  readonly issuer: string | null
  readonly rule: string | null
  readonly claims: Readonly<Record<string, unknown>>
}

export interface ServiceErrorOptions {
  /** Seconds after which the same request may succeed. */
  readonly retryAfter?: number | undefined
  readonly errors?: readonly FieldError[] | undefined
  /** Replaces the catalogue's next step where that does not fit. */
  readonly nextStep?: string | undefined
  /** `'possible'` if the failed operation may have taken effect upstream, for example after a time-out. */
  readonly effect?: 'none' | 'possible' | undefined
  /** `true`: the log has the fault already, from when it was found. Its refusals are not logged as errors. */
  readonly alreadyLogged?: boolean | undefined
  /** `true`: all callers of the request had disconnected. That is no fault of the service. */
  readonly clientClosed?: boolean | undefined
  /** The identity that a refused identity token shows, for the audit trail. */
  readonly identity?: ShownIdentity | undefined
  readonly cause?: unknown
}

/** The only error type of the service: every expected failure, with a stable code. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError'
  readonly code: ErrorCode
  readonly retryAfter: number | undefined
  readonly errors: readonly FieldError[] | undefined
  readonly nextStep: string
  readonly effect: 'none' | 'possible'
  readonly alreadyLogged: boolean
  readonly clientClosed: boolean
  readonly identity: ShownIdentity | undefined

  /** @param detail what went wrong in this request; the caller reads it, so it contains no secrets and no internals */
  constructor(code: ErrorCode, detail: string, options: ServiceErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryAfter = options.retryAfter
    this.errors = options.errors
    this.nextStep = options.nextStep ?? errorCatalogue[code].nextStep
    this.effect = options.effect ?? 'none'
    this.alreadyLogged = options.alreadyLogged ?? false
    this.clientClosed = options.clientClosed ?? false
    this.identity = options.identity
  }

  get isRetryable(): boolean {
    return errorCatalogue[this.code].retryable
  }
}

/** Reports whether an error is logged already, from when its reason was found. */
export function isLogged(error: unknown): boolean {
  return error instanceof ServiceError && error.alreadyLogged
}

/** Returns a copy of an error with some options changed. */
export function changed(error: ServiceError, changes: ServiceErrorOptions): ServiceError {
  return new ServiceError(error.code, error.message, { ...error, cause: error.cause, ...changes })
}

/** Returns a retryable error with a `retryAfter` of at least `seconds`, and any other error as it is. */
export function waitingAtLeast(error: unknown, seconds: number): unknown {
  if (!(error instanceof ServiceError) || !error.isRetryable) return error
  return (error.retryAfter ?? 0) >= seconds ? error : changed(error, { retryAfter: seconds })
}
