/** What a code means to the one who gets it. The edge adds the HTTP status. */
export interface ErrorInfo {
  /** One line, the same for every occurrence. */
  readonly title: string
  /** Whether the same request may succeed later, unchanged. */
  readonly retryable: boolean
  /** What the caller should do now. */
  readonly nextStep: string
}

/** Every error the service can answer. Message texts are free to change; the codes are the contract. */
export const errorCatalogue = {
  missing_token: {
    title: 'A token is required',
    retryable: false,
    nextStep:
      'Send "Authorization: Bearer …": to register the bootstrap token (fkb_…) the operator gave you, to manage a ' +
      'registration its management token (fkm_…).',
  },
  invalid_token: {
    title: 'The token is not valid',
    retryable: false,
    nextStep:
      'Check that it is the right token and that all of it was copied, or ask the operator for a new one.',
  },
  token_expired: {
    title: 'The bootstrap token has expired',
    retryable: false,
    nextStep: 'Ask the operator for a new bootstrap token.',
  },
  token_revoked: {
    title: 'The bootstrap token was revoked',
    retryable: false,
    nextStep: 'Ask the operator for a new bootstrap token.',
  },
  token_exhausted: {
    title: 'The bootstrap token has no uses left',
    retryable: false,
    nextStep: 'Ask the operator for a new bootstrap token.',
  },
  plan_not_allowed: {
    title: 'The bootstrap token may not ask for this plan',
    retryable: false,
    nextStep: 'Leave "plan" out to get the default plan of the token, or ask the operator for another token.',
  },
  name_not_allowed: {
    title: 'The bootstrap token may not use this name',
    retryable: false,
    nextStep: 'Choose a name that starts with the prefix named in "detail".',
  },
  invalid_request: {
    title: 'The request is not valid',
    retryable: false,
    nextStep: 'Correct the request as "detail" and "errors" say.',
  },
  invalid_idempotency_key: {
    title: 'The Idempotency-Key is not valid',
    retryable: false,
    nextStep: 'Send a new UUID as the Idempotency-Key, and the same one with every retry.',
  },
  idempotency_in_progress: {
    title: 'The same request is still being worked on',
    retryable: true,
    nextStep: 'Wait for the seconds in Retry-After, then send the same request again for its result.',
  },
  idempotency_mismatch: {
    title: 'The Idempotency-Key was used for another request',
    retryable: false,
    nextStep: 'Send the first request again unchanged, or this one with a new Idempotency-Key.',
  },
  registration_ended: {
    title: 'The registration has ended',
    retryable: false,
    nextStep: 'Register anew with POST /register, with a new Idempotency-Key if you use one.',
  },
  key_replaced: {
    title: 'The key was replaced by a rotation',
    retryable: false,
    nextStep:
      'Use the key of the latest rotation; if you do not have it, rotate again with a new Idempotency-Key.',
  },
  rotation_in_progress: {
    title: 'The key is being rotated already',
    retryable: true,
    nextStep: 'Wait for the seconds in Retry-After, then send the same request again.',
  },
  not_found: {
    title: 'Nothing is here',
    retryable: false,
    nextStep: 'Register with POST /register; /openapi.json describes every path.',
  },
  method_not_allowed: {
    title: 'This path does not have that method',
    retryable: false,
    nextStep: 'Use one of the methods in the Allow header.',
  },
  payload_too_large: {
    title: 'The request body is too large',
    retryable: false,
    nextStep: 'Send a body of at most 16 KiB.',
  },
  request_timeout: {
    title: 'The request took too long to arrive',
    retryable: true,
    nextStep: 'Send the same request again, whole.',
  },
  unsupported_media_type: {
    title: 'The content type is not supported',
    retryable: false,
    nextStep: 'Send the body as "Content-Type: application/json".',
  },
  rate_limited: {
    title: 'Too many requests',
    retryable: true,
    nextStep: 'Wait for the seconds in Retry-After, then send the same request again.',
  },
  upstream_throttled: {
    title: 'API Gateway is throttling',
    retryable: true,
    nextStep: 'Wait for the seconds in Retry-After, then send the same request again.',
  },
  upstream_unavailable: {
    title: 'API Gateway could not finish the request',
    retryable: true,
    nextStep: 'Wait for the seconds in Retry-After, then send the same request again.',
  },
  overloaded: {
    title: 'The service has more work than it can do in time',
    retryable: true,
    nextStep: 'Wait for the seconds in Retry-After, then send the same request again.',
  },
  store_unavailable: {
    title: 'The service cannot write to its store',
    retryable: true,
    nextStep: 'Wait for the seconds in Retry-After, then send the same request again.',
  },
  shutting_down: {
    title: 'This server is stopping',
    retryable: true,
    nextStep: 'Send the same request again; another server, or this one restarted, will answer.',
  },
  upstream_misconfigured: {
    title: 'The service is not set up correctly',
    retryable: false,
    nextStep: 'Tell the operator the request id in "instance"; the reason is in the log of the service.',
  },
  key_quota_reached: {
    title: 'API Gateway holds no more keys',
    retryable: false,
    nextStep: 'Tell the operator that the API key quota of the account is used up.',
  },
  internal: {
    title: 'The service failed',
    retryable: false,
    nextStep: 'Tell the operator the request id in "instance".',
  },
} as const satisfies Record<string, ErrorInfo>

export type ErrorCode = keyof typeof errorCatalogue

/** Every code, in the order of the catalogue. */
export const errorCodes = Object.keys(errorCatalogue) as readonly ErrorCode[]

/** The code of an error: its own, or `internal`. */
export function codeOf(error: unknown): ErrorCode {
  return error instanceof ServiceError ? error.code : 'internal'
}

/** One fault of one field. `path` is a JSON Pointer (RFC 6901) into the body; `""` is the body itself. */
export interface FieldError {
  readonly path: string
  readonly message: string
}

export interface ServiceErrorOptions {
  /** Seconds after which the same request is worth repeating. */
  readonly retryAfter?: number | undefined
  readonly errors?: readonly FieldError[] | undefined
  /** What the caller should do now, where the catalogue's word for the code does not fit. */
  readonly nextStep?: string | undefined
  /** `'possible'`: what failed may have taken effect upstream all the same, as after a time-out. */
  readonly effect?: 'none' | 'possible' | undefined
  readonly cause?: unknown
}

/** The one error type of the service: everything that is expected to go wrong, with a stable code. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError'
  readonly code: ErrorCode
  readonly retryAfter: number | undefined
  readonly errors: readonly FieldError[] | undefined
  readonly nextStep: string
  readonly effect: 'none' | 'possible'

  /** @param detail what went wrong this time, as the caller may read it: no secret, no internals. */
  constructor(code: ErrorCode, detail: string, options: ServiceErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryAfter = options.retryAfter
    this.errors = options.errors
    this.nextStep = options.nextStep ?? errorCatalogue[code].nextStep
    this.effect = options.effect ?? 'none'
  }
}
