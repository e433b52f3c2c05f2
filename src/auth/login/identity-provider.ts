import { decodeProtectedHeader } from 'jose'
import * as oidc from 'openid-client'
import type { ProxyVariables } from '../../egress-proxy.ts'
import { ServiceError } from '../../errors.ts'
import { askIssuer } from '../federation/ask-issuer.ts'
import { leadsInside } from '../federation/key-addresses.ts'
import type { Issuer, Login } from '../federation/trust-file.ts'
import type { LoginProgress } from './login-progress.ts'

/** An issuer at which people log in. */
export type LoginIssuer = Issuer & { readonly login: Login }

/** The time for which the metadata of a provider is used (ms). */
const METADATA_TTL_MS = 600_000
/** The time after a failure for which a provider is not asked for its metadata again (ms). */
const COOLDOWN_MS = 5_000

/** How a login at a provider ended: with the claims of the person, or with an error that the client is to know. */
export type LoginResult =
  | { readonly claims: Readonly<Record<string, unknown>> }
  | { readonly error: 'access_denied' | 'temporarily_unavailable' | 'server_error'; readonly reason: unknown }

/** This service as the client of the operator's identity providers (OpenID Connect Core 1.0, section 3.1). */
export interface IdentityProviders {
  /**
   * Returns the URL at the provider to which the browser is sent.
   * @throws ServiceError `identity_provider_unavailable`
   */
  loginUrl(
    issuer: LoginIssuer,
    progress: Pick<LoginProgress, 'id' | 'nonce' | 'codeVerifier'>,
    options: { forcesLogin: boolean },
  ): Promise<string>
  /**
   * Checks the answer of the provider and exchanges its code.
   * @param query the parameters with which the browser came back
   * @throws ServiceError `login_failed` if the answer does not belong to this login, or proves nothing
   */
  finishLogin(issuer: LoginIssuer, progress: LoginProgress, query: URLSearchParams): Promise<LoginResult>
}

/**
 * @param callbackUrl the redirect URI that the operator registers at the providers
 * @param now the monotonic time (ms)
 */
export function createIdentityProviders(
  callbackUrl: string,
  proxies: ProxyVariables,
  now = () => performance.now(),
): IdentityProviders {
  /** The client at each issuer, and until when it, or the failure to have one, counts. A reload of the trust file brings other issuers. */
  const clients = new WeakMap<LoginIssuer, { client: Promise<oidc.Configuration>; until: number }>()

  function clientAt(issuer: LoginIssuer): Promise<oidc.Configuration> {
    const known = clients.get(issuer)
    if (known !== undefined && now() < known.until) return known.client
    const entry = {
      client: discover(issuer, fetchOf(issuer, proxies)),
      until: now() + METADATA_TTL_MS,
    }
    entry.client = entry.client.catch((error: Error) => {
      entry.until = now() + COOLDOWN_MS
      // The earlier metadata stays in use while the provider is down.
      if (known === undefined) throw error
      return known.client
    })
    clients.set(issuer, entry)
    return entry.client
  }

  return {
    async loginUrl(issuer, { id, nonce, codeVerifier }, { forcesLogin }) {
      const client = await clientAt(issuer).catch((cause: Error) => {
        throw unavailable(issuer, cause)
      })
      const url = oidc.buildAuthorizationUrl(client, {
        redirect_uri: callbackUrl,
        scope: issuer.login.scopes.join(' '),
        state: id,
        nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(codeVerifier),
        code_challenge_method: 'S256',
        ...(forcesLogin ? { prompt: 'login' } : {}),
      })
      return url.href
    },
    async finishLogin(issuer, { id, nonce, codeVerifier }, query) {
      try {
        const client = await clientAt(issuer)
        const tokens = await oidc.authorizationCodeGrant(client, new URL(`?${query}`, callbackUrl), {
          expectedState: id,
          expectedNonce: nonce,
          pkceCodeVerifier: codeVerifier,
          idTokenExpected: true,
        })
        const { alg = '' } = decodeProtectedHeader(tokens.id_token ?? '')
        if (!issuer.algorithms.some((one) => one === alg))
          throw failed(
            issuer,
            'The provider signed its answer with an algorithm that this service does not accept of it.',
          )
        const claims = { ...tokens.claims() }
        if (claims.iss !== issuer.url)
          throw failed(issuer, `The provider calls itself ${claims.iss}, not ${issuer.url}.`)
        return { claims }
      } catch (error) {
        return resultOf(error, issuer)
      }
    },
  }
}

/** Sends the requests of the library as all others to an issuer are sent. */
function fetchOf({ keys, url: issuerUrl }: LoginIssuer, proxies: ProxyVariables): oidc.CustomFetch {
  return async (url, { method, headers, body }) => {
    if (leadsInside(url, issuerUrl)) throw new TypeError(`${url} must not have a loopback address`)
    const sent = body === undefined || body === null ? undefined : String(body)
    const answer = await askIssuer(url, { method, headers, body: sent }, keys, proxies).catch(
      (cause: Error) => {
        // As fetch does.
        throw new TypeError(cause.message, { cause })
      },
    )
    const shown = Object.entries(answer.headers).flatMap(([name, value]) =>
      typeof value === 'string' ? [[name, value] as [string, string]] : [],
    )
    const isEmpty = [204, 205, 304].includes(answer.status)
    return new Response(isEmpty ? null : answer.body, { status: answer.status, headers: shown })
  }
}

async function discover(issuer: LoginIssuer, fetch: oidc.CustomFetch): Promise<oidc.Configuration> {
  const { clientId, clientSecret } = issuer.login
  const url = new URL(issuer.url)
  // Plain http is accepted of loopback addresses only, when the trust file is read.
  const checks = [
    oidc.enableNonRepudiationChecks,
    ...(url.protocol === 'http:' ? [oidc.allowInsecureRequests] : []),
  ]
  // Confirms that the keys of the provider signed the ID token, although it comes from the provider itself.
  return oidc.discovery(url, clientId, undefined, authenticationOf(clientSecret), {
    [oidc.customFetch]: fetch,
    execute: checks,
  })
}

/** Sends the secret as the provider's metadata asks; in a header if it does not say (OpenID Connect Core 1.0, section 9). */
function authenticationOf(clientSecret: string): oidc.ClientAuth {
  const [basic, post] = [oidc.ClientSecretBasic(clientSecret), oidc.ClientSecretPost(clientSecret)]
  return (server, client, body, headers) => {
    const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
    const method = methods.includes('client_secret_basic') ? basic : post
    return method(server, client, body, headers)
  }
}

/** Tells an error of the provider and an outage from an answer that does not belong to the login. */
function resultOf(error: unknown, issuer: LoginIssuer): LoginResult {
  if (error instanceof ServiceError) throw error
  if (error instanceof oidc.AuthorizationResponseError) {
    const known = (['access_denied', 'temporarily_unavailable'] as const).find((one) => one === error.error)
    return { error: known ?? 'server_error', reason: described(error) }
  }
  if (error instanceof oidc.ResponseBodyError) {
    if (error.error === 'invalid_grant')
      throw failed(
        issuer,
        'The provider does not accept the code any more with which it sent you here.',
        error,
      )
    return {
      error: error.status >= 500 ? 'temporarily_unavailable' : 'server_error',
      reason: described(error),
    }
  }
  if (error instanceof oidc.WWWAuthenticateChallengeError) return { error: 'server_error', reason: error }
  if (isOutage(error)) return { error: 'temporarily_unavailable', reason: error }
  throw failed(issuer, 'The answer of the provider does not belong to this login, or proves nothing.', error)
}

/** Returns an error with the words of the provider, for the log. */
function described(cause: oidc.AuthorizationResponseError | oidc.ResponseBodyError): Error {
  const { error, error_description: description = '' } = cause
  return new Error(`the provider says: ${error} ${description}`.slice(0, 300), { cause })
}

/** Reports whether no answer came, or none of an OAuth server. */
function isOutage(error: unknown): boolean {
  if (error instanceof TypeError) return true
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return [
    'OAUTH_TIMEOUT',
    'OAUTH_ABORT',
    'OAUTH_RESPONSE_IS_NOT_CONFORM',
    'OAUTH_RESPONSE_IS_NOT_JSON',
  ].includes(String(code))
}

function unavailable(issuer: LoginIssuer, cause: Error): ServiceError {
  return new ServiceError(
    'identity_provider_unavailable',
    `${issuer.login.label} cannot be reached right now.`,
    {
      cause,
    },
  )
}

function failed({ url }: LoginIssuer, detail: string, cause?: unknown): ServiceError {
  return new ServiceError('login_failed', detail, {
    cause,
    identity: { issuer: url, rule: null, claims: {} },
  })
}
