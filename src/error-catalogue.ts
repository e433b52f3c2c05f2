/** The meaning of an error code for the caller. `http/problem.ts` adds the HTTP status. */
export interface ErrorInfo {
  /** One line, the same for every occurrence. */
  readonly title: string
  /** `true` if the same request may succeed later without changes. */
  readonly retryable: boolean
  /** Tells the caller what to do next. */
  readonly nextStep: string
}

/** Every error that the service can return. The codes are the contract; the texts may change. */
export const errorCatalogue = {
  missing_token: {
    title: 'A token is required',
    retryable: false,
    nextStep:
      'Send "Authorization: Bearer …" with the bootstrap token (fkb_…) from the operator to register, or with the ' +
      'management token (fkm_…) of a registration to manage it.',
  },
  invalid_token: {
    title: 'The token is not valid',
    retryable: false,
    nextStep: 'Check that you sent the right token and copied all of it, or ask the operator for a new one.',
  },
  token_expired: {
    title: 'The token has expired',
    retryable: false,
    nextStep: 'Ask the operator for a new bootstrap token.',
  },
  token_revoked: {
    title: 'The bootstrap token was revoked',
    retryable: false,
    nextStep: 'Ask the operator for a new bootstrap token.',
  },
  issuer_not_trusted: {
    title: 'The issuer of the identity token is not trusted here',
    retryable: false,
    nextStep:
      "Use an identity token of an issuer that the service's llms.txt lists, or a bootstrap token (fkb_…) from the operator.",
  },
  audience_mismatch: {
    title: 'The identity token is for another audience',
    retryable: false,
    nextStep: 'Request an identity token for exactly the audience in "detail", and for no other.',
  },
  token_replayed: {
    title: 'The identity token was already used',
    retryable: false,
    nextStep:
      'Get a fresh identity token and send the request again, with the same Idempotency-Key if it is a retry.',
  },
  identity_not_allowed: {
    title: 'This identity may not register',
    retryable: false,
    nextStep:
      'Give the operator the request id in "instance": "firstkey trust explain" shows which rule the identity does not meet.',
  },
  identity_limit_reached: {
    title: 'The identity has as many keys as it may have',
    retryable: false,
    nextStep:
      'Delete a registration of this identity that is not needed any more (DELETE with its management token), then send ' +
      'the request again.',
  },
  already_registered: {
    title: 'This identity already has a registration with this name',
    retryable: false,
    nextStep:
      'Use the key of the registration that "detail" names, rotate it with its management token, or register under another name.',
  },
  identity_provider_unavailable: {
    title: 'The keys of the issuer of the identity token cannot be read right now',
    retryable: true,
    nextStep:
      'Wait the number of seconds in Retry-After, then send the request again, with a fresh identity token if that one has expired.',
  },
  invalid_client: {
    title: 'The client is not known, or proves itself in a way that is not supported',
    retryable: false,
    nextStep: 'Send "client_id=firstkey" in the body, and neither a secret nor an Authorization header.',
  },
  invalid_grant: {
    title: 'The code of the login is not valid',
    retryable: false,
    nextStep: 'Start the login again to get a new code.',
  },
  unsupported_grant_type: {
    title: 'The grant type is not supported',
    retryable: false,
    nextStep: "Use a grant type of the service's metadata (/.well-known/oauth-authorization-server).",
  },
  login_failed: {
    title: 'The login did not succeed',
    retryable: false,
    nextStep:
      'Go back to the program or the page from which you came, and start the login again. If it keeps failing, give the ' +
      'operator the request id in "instance".',
  },
  token_exhausted: {
    title: 'The bootstrap token has no uses left',
    retryable: false,
    nextStep: 'Ask the operator for a new bootstrap token.',
  },
  token_uses_pending: {
    title: 'No use of the token is left for now',
    retryable: true,
    nextStep:
      'Wait the number of seconds in Retry-After, then send the same request again: a registration that took a use may ' +
      'fail and give it back. If all of them get their keys, the answer will be token_exhausted, or identity_limit_reached ' +
      'for an identity token.',
  },
  plan_not_allowed: {
    title: 'The token does not allow this plan',
    retryable: false,
    nextStep:
      'Omit "plan" to get the default plan of the token, choose a plan that "detail" lists, or ask the operator for ' +
      'another token.',
  },
  name_not_allowed: {
    title: 'The token does not allow this name',
    retryable: false,
    nextStep: 'Choose a name that starts with the prefix in "detail".',
  },
  invalid_request: {
    title: 'The request is not valid',
    retryable: false,
    nextStep:
      'Correct the request as "detail" says and send it again. "errors", if present, lists the invalid fields.',
  },
  invalid_idempotency_key: {
    title: 'An Idempotency-Key is required, or the one sent is not valid',
    retryable: false,
    nextStep: 'Send a new UUID as the Idempotency-Key, and reuse it for every retry of this request.',
  },
  idempotency_in_progress: {
    title: 'The same request is still in progress',
    retryable: true,
    nextStep:
      'Wait the number of seconds in Retry-After, then send the same request again to get its result.',
  },
  idempotency_mismatch: {
    title: 'The Idempotency-Key was already used for a different request',
    retryable: false,
    nextStep: 'Send the original request again unchanged, or send this one with a new Idempotency-Key.',
  },
  registration_ended: {
    title: 'The registration has ended',
    retryable: false,
    nextStep: 'Register again with POST /register; if you send an Idempotency-Key, use a new one.',
  },
  registration_suspended: {
    title: 'The registration is suspended',
    retryable: false,
    nextStep: 'Ask the operator why, and to resume it. A new key cannot be requested in its place.',
  },
  key_replaced: {
    title: 'The key was replaced by a rotation',
    retryable: false,
    nextStep:
      'Use the key of the latest rotation. If you do not have it, rotate again with a new Idempotency-Key, or with an identity ' +
      'token register again with one.',
  },
  rotation_in_progress: {
    title: 'The key is already being rotated',
    retryable: true,
    nextStep: 'Wait the number of seconds in Retry-After, then send the same request again.',
  },
  not_found: {
    title: 'Nothing exists at this path',
    retryable: false,
    nextStep:
      "Check the path: the service's openapi.json describes every path, relative to its server URL. To register, send " +
      'POST to the path /register there.',
  },
  method_not_allowed: {
    title: 'The path does not support this method',
    retryable: false,
    nextStep: 'Use one of the methods in the Allow header.',
  },
  payload_too_large: {
    title: 'The body is too large',
    retryable: false,
    nextStep: 'Send a body of at most 16 KiB.',
  },
  uri_too_long: {
    title: 'The URL is too long',
    retryable: false,
    nextStep: 'Send a URL without what the documentation does not ask for. Tokens belong in the headers.',
  },
  headers_too_large: {
    title: 'The headers are too large',
    retryable: false,
    nextStep:
      'Send only the headers that the documentation asks for: no cookies, and no more than 16 KiB in total.',
  },
  request_timeout: {
    title: 'The request took too long to arrive',
    retryable: true,
    nextStep: 'Send the complete request again, without pauses.',
  },
  unsupported_media_type: {
    title: 'The content type or encoding of the body is not supported',
    retryable: false,
    nextStep: 'Send the body uncompressed, with "Content-Type: application/json".',
  },
  rate_limited: {
    title: 'Too many requests',
    retryable: true,
    nextStep: 'Wait the number of seconds in Retry-After, then send the same request again.',
  },
  upstream_throttled: {
    title: 'A service behind this one is throttling requests',
    retryable: true,
    nextStep: 'Wait the number of seconds in Retry-After, then send the same request again.',
  },
  upstream_unavailable: {
    title: 'The request could not be completed right now',
    retryable: true,
    nextStep: 'Wait the number of seconds in Retry-After, then send the same request again.',
  },
  overloaded: {
    title: 'The service is overloaded',
    retryable: true,
    nextStep: 'Wait the number of seconds in Retry-After, then send the same request again.',
  },
  store_unavailable: {
    title: 'The store of the service is unavailable',
    retryable: true,
    nextStep: 'Wait the number of seconds in Retry-After, then send the same request again.',
  },
  shutting_down: {
    title: 'This server is shutting down',
    retryable: true,
    nextStep:
      'Wait the number of seconds in Retry-After, then send the same request again: another server, or this one ' +
      'after its restart, handles it.',
  },
  upstream_misconfigured: {
    title: 'The service is not set up correctly',
    retryable: false,
    nextStep: 'Give the operator the request id in "instance"; the log of the service has the reason.',
  },
  upstream_unsupported: {
    title: 'API Gateway here does not offer this',
    retryable: false,
    nextStep:
      'Do without this information: asking again gives the same answer until the operator changes the service.',
  },
  key_quota_reached: {
    title: "The account's API key quota is used up",
    retryable: true,
    nextStep:
      'Wait the number of seconds in Retry-After, then send the same request again: it succeeds when a key has expired ' +
      'or was deleted. If it keeps failing, tell the operator.',
  },
  internal: {
    title: 'The service failed unexpectedly',
    retryable: false,
    nextStep: 'Give the operator the request id in "instance"; the log of the service has the reason.',
  },
} as const satisfies Record<string, ErrorInfo>

export type ErrorCode = keyof typeof errorCatalogue

/** Every code, in the order of the catalogue. */
export const errorCodes = Object.keys(errorCatalogue) as readonly ErrorCode[]
