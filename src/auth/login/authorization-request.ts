import { ServiceError } from '../../errors.ts'
import { type Target, targetOf, withParameters } from './redirect-uri.ts'

/** The id of the only OAuth client. It is public: every program that offers a login uses it. */
export const CLIENT_ID = 'firstkey'

/** The longest `state`, in characters: it is kept in a cookie. */
const LONGEST_STATE = 1_024
/** The characters of `state` (RFC 6749, appendix A.5). */
const STATE = /^[\x20-\x7e]*$/
/** A SHA-256 in base64url (RFC 7636, section 4.2). */
const CHALLENGE = /^[\w-]{43}$/

/** A valid request for an authorization code, as a login carries it along. */
export interface AuthorizationRequest {
  readonly redirectUri: string
  readonly state: string | undefined
  readonly codeChallenge: string
}

/** The errors of an authorization endpoint (RFC 6749, section 4.1.2.1; OpenID Connect Core 1.0, section 3.1.2.6). */
export type AuthorizationError =
  | 'invalid_request'
  | 'unsupported_response_type'
  | 'access_denied'
  | 'server_error'
  | 'temporarily_unavailable'
  | 'interaction_required'
  | 'request_not_supported'
  | 'request_uri_not_supported'

/** The result of reading an authorization request: a valid one, or the URL that takes an error back to the client. */
export type ReadRequest =
  | {
      readonly request: AuthorizationRequest
      readonly target: Target
      /** The name of the login issuer that the client asks for. */
      readonly issuer: string | undefined
      /** `true`: log in again, although there may be a session at the provider. */
      readonly forcesLogin: boolean
    }
  | { readonly redirectTo: string }

/**
 * Reads the parameters of an authorization request (RFC 6749, section 4.1.1; RFC 7636). One without a value counts as absent, and
 * an unknown one is ignored.
 * @param options.ownPages the URLs of this service's pages that take a code
 * @param options.publicUrl the issuer in the responses (RFC 9207)
 * @throws ServiceError `invalid_request` if the client or its redirect URI cannot be trusted: nothing is sent there
 */
export function readAuthorizationRequest(
  query: URLSearchParams,
  { ownPages, publicUrl }: { ownPages: readonly string[]; publicUrl: string },
): ReadRequest {
  const parameters = new Map([...query].filter(([, value]) => value !== ''))
  const repeated = [...new Set(query.keys())].filter((name) => query.getAll(name).length > 1)
  for (const name of ['client_id', 'redirect_uri']) {
    if (repeated.includes(name)) throw untrusted(name, 'is there more than once')
  }
  const redirectUri = parameters.get('redirect_uri')
  if (parameters.get('client_id') !== CLIENT_ID) throw untrusted('client_id', `must be ${CLIENT_ID}`)
  const target = redirectUri === undefined ? undefined : targetOf(redirectUri, ownPages)
  if (redirectUri === undefined || target === undefined) {
    const rule = `must be an address of this computer, such as http://127.0.0.1:5123/callback, or ${ownPages.join(' or ')}`
    throw untrusted('redirect_uri', rule)
  }

  const state = repeated.includes('state') ? undefined : parameters.get('state')
  const isStateValid = state === undefined || (state.length <= LONGEST_STATE && STATE.test(state))
  const refuse = (error: AuthorizationError, description: string) => ({
    redirectTo: refusalOf(
      { redirectUri, state: isStateValid ? state : undefined },
      publicUrl,
      error,
      description,
    ),
  })
  const [twice] = repeated
  if (twice !== undefined) return refuse('invalid_request', `${visible(twice)} is there more than once.`)
  if (!isStateValid)
    return refuse('invalid_request', `state must be at most ${LONGEST_STATE} printable ASCII characters.`)
  if (parameters.has('request')) return refuse('request_not_supported', 'request is not supported.')
  if (parameters.has('request_uri'))
    return refuse('request_uri_not_supported', 'request_uri is not supported.')
  const responseType = parameters.get('response_type')
  if (responseType === undefined)
    return refuse('invalid_request', 'response_type is required: it must be code.')
  if (responseType !== 'code') return refuse('unsupported_response_type', 'response_type must be code.')
  if ((parameters.get('response_mode') ?? 'query') !== 'query')
    return refuse('invalid_request', 'response_mode must be query.')
  const codeChallenge = parameters.get('code_challenge')
  if (parameters.get('code_challenge_method') !== 'S256' || codeChallenge === undefined)
    return refuse(
      'invalid_request',
      'code_challenge with code_challenge_method=S256 is required (PKCE, RFC 7636).',
    )
  if (!CHALLENGE.test(codeChallenge))
    return refuse('invalid_request', 'code_challenge must be a SHA-256 in base64url: 43 characters.')
  const prompts = parameters.get('prompt')?.split(' ') ?? []
  if (prompts.includes('none'))
    return refuse(
      'interaction_required',
      'A login is always confirmed on a page, so prompt=none is not possible.',
    )
  return {
    request: { redirectUri, state, codeChallenge },
    target,
    issuer: parameters.get('issuer'),
    forcesLogin: prompts.includes('login'),
  }
}

/** Matches the characters that `error_description` must not contain (RFC 6749, section 4.1.2.1). */
const NOT_PRINTABLE = /[^\x20-\x21\x23-\x5b\x5d-\x7e]/gu

/** Returns the URL that takes an error back to the client (RFC 6749, section 4.1.2.1). */
export function refusalOf(
  { redirectUri, state }: Pick<AuthorizationRequest, 'redirectUri' | 'state'>,
  publicUrl: string,
  error: AuthorizationError,
  description: string,
): string {
  return withParameters(redirectUri, {
    ...{ error, error_description: description.replace(NOT_PRINTABLE, '?') },
    ...{ state, iss: publicUrl },
  })
}

function untrusted(name: string, rule: string): ServiceError {
  return new ServiceError('invalid_request', `${name} ${rule}.`, {
    errors: [{ path: `/${name}`, message: rule }],
    nextStep:
      'Go back to the program that sent you here and start again. It has to correct the address of this page.',
  })
}

/** Returns the name of a parameter if it is plain, so that no words of the client's become those of this service. */
function visible(name: string): string {
  return /^\w{1,40}$/.test(name) ? name : 'A parameter'
}
