import cookies from '@fastify/cookie'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { identityNotAllowed } from '../auth/bootstrap-token.ts'
import type { Federation } from '../auth/federation/federation.ts'
import { claimsForRules } from '../auth/federation/match-rules.ts'
import { identityCaller } from '../auth/identity-token.ts'
import {
  type AuthorizationRequest,
  CLIENT_ID,
  readAuthorizationRequest,
  refusalOf,
} from '../auth/login/authorization-request.ts'
import type { IdentityProviders, LoginIssuer } from '../auth/login/identity-provider.ts'
import { CODE_TTL_MS, createLoginCode } from '../auth/login/login-code.ts'
import {
  askForConfirmation,
  beginLogin,
  LOGIN_TTL_MS,
  readConfirmation,
  readProgress,
} from '../auth/login/login-progress.ts'
import { targetOf, withParameters } from '../auth/login/redirect-uri.ts'
import type { Deps } from '../deps.ts'
import { linksOf } from '../discovery/links.ts'
import type { ProxyVariables } from '../egress-proxy.ts'
import { errorCatalogue } from '../error-catalogue.ts'
import { ServiceError } from '../errors.ts'
import { identify } from '../http/authenticate.ts'
import { tagged } from '../http/openapi.ts'
import { problemResponses, STORE_ERRORS } from '../http/openapi-errors.ts'
import { problemStatus, toServiceError } from '../http/problem.ts'
import { readForms } from '../http/read-form.ts'
import { logError } from '../http/request-log.ts'
import { headersOf } from '../http/response-headers.ts'
import { negotiate, pageContent, sendFormPage, sendPage } from '../http/send-page.ts'
import {
  type Asking,
  chooseProviderPage,
  codePage,
  confirmationPage,
  noCodePage,
  type Person,
  refusedLoginPage,
} from '../pages/login.ts'
import type { BootstrapToken } from '../store/records.ts'
import { loginIssuers } from './login-issuers.ts'

/** The most logins that a browser may have in progress, and the most characters of their cookies: proxies limit the headers of a request. */
const MOST_LOGINS = 4
const MOST_COOKIES = 6_000
/** The most characters of what a login carries in a form, and then as a code in a URL: programs and proxies limit URLs. */
const LONGEST_LOGIN = 8_000
/** The syntax of the `state` of a login at a provider. */
const ID = /^[\w-]{22}$/

/** The ways from a page about a failed login: back to the program, and to the login with another account. */
interface Ways {
  readonly returnUrl: string
  readonly againUrl: string
}

/** The login in the browser, at a provider of the operator (OpenID Connect), with this service as its client. */
export const loginRoutes: FastifyPluginAsyncZod<{ deps: Deps }> = async (app, { deps }) => {
  const { config, federation, store, clock } = deps
  const { publicUrl } = config
  const links = linksOf(publicUrl)
  const { basePath } = links
  const ownPages = [links.home, links.loginCode]
  const { origin, protocol } = new URL(publicUrl)
  const isSecure = protocol === 'https:'
  // Only with this prefix does a browser refuse a cookie that another host of the domain sets. It requires HTTPS.
  const prefix = `${isSecure ? '__Host-' : ''}firstkey-login-`
  const providers = federation === null ? null : await providersAt(links.loginCallback, config.proxies)
  const ways = new WeakMap<FastifyRequest, Ways>()

  const issuers = () => loginIssuers(federation)
  const findIssuer = (name: string) => issuers().find((issuer) => issuer.name === name)

  await app.register(cookies)
  readForms(app)
  app.setErrorHandler((thrown: Error, request, reply) => {
    const error = toServiceError(thrown)
    const from = ways.get(request)
    if (from === undefined || negotiate(request, reply, ['application/json', 'text/html']) !== 'text/html')
      throw thrown
    logError(request, reply, error, problemStatus[error.code], thrown)
    const { title } = errorCatalogue[error.code]
    const { message: detail, nextStep, code } = error
    const content = { basePath, title, detail, nextStep, code, requestId: request.id, ...from }
    return sendPage(reply.code(problemStatus[code]), refusedLoginPage(content))
  })

  function setCookie(reply: FastifyReply, id: string, value: string, sameSite: 'lax' | 'strict'): void {
    reply.setCookie(prefix + id, value, {
      ...{ path: '/', httpOnly: true, secure: isSecure, sameSite, maxAge: LOGIN_TTL_MS / 1_000 },
    })
  }

  function clearCookie(reply: FastifyReply, id: string): void {
    reply.clearCookie(prefix + id, { path: '/', httpOnly: true, secure: isSecure, sameSite: 'lax' })
  }

  /** Ends the oldest logins of a browser, so that there is room for one more. Browsers send the oldest cookie first. */
  function makeRoom(request: FastifyRequest, reply: FastifyReply, { length }: string): void {
    const others = Object.entries(request.cookies).filter(([name]) => name.startsWith(prefix))
    let room = MOST_COOKIES - length
    for (const [i, [name, value = '']] of others.reverse().entries()) {
      room -= name.length + value.length
      if (i + 1 >= MOST_LOGINS || room < 0) clearCookie(reply, name.slice(prefix.length))
    }
  }

  /**
   * Returns the virtual token of a login, as the rules grant it now.
   * @throws ServiceError `identity_not_allowed`, also if an operator stopped the identity
   */
  async function grantedTo(
    request: FastifyRequest,
    federation: Federation,
    issuer: LoginIssuer,
    claims: Readonly<Record<string, unknown>>,
  ): Promise<BootstrapToken> {
    const { token } = federation.match(issuer, claims)
    const stored = await store.getToken(token.id)
    if (stored === undefined || stored.revokedAt === null) return token
    identify(request, identityCaller(stored, null))
    throw identityNotAllowed()
  }

  /** Redirects with a GET, and without the address of this page as referrer. */
  function redirect(reply: FastifyReply, url: string): FastifyReply {
    return reply.header('referrer-policy', 'no-referrer').redirect(url, 303)
  }

  function waysFrom(request: AuthorizationRequest, issuer: LoginIssuer): Ways {
    const { redirectUri, state, codeChallenge } = request
    return {
      returnUrl: refusalOf(request, publicUrl, 'access_denied', 'The login gave no access.'),
      againUrl: withParameters(links.authorize, {
        ...{ response_type: 'code', client_id: CLIENT_ID, redirect_uri: redirectUri, state },
        ...{
          code_challenge: codeChallenge,
          code_challenge_method: 'S256',
          issuer: issuer.name,
          prompt: 'login',
        },
      }),
    }
  }

  app.route({
    method: 'GET',
    url: '/connect/authorize',
    attachValidation: true,
    schema: {
      operationId: 'authorize',
      summary: 'Log in with the browser (RFC 6749, section 4.1)',
      description:
        'Open it in a browser: it sends the person to the identity provider of the operator and then, if they agree, to ' +
        '`redirect_uri` with a code for the token endpoint. The one client is `firstkey`, which is public; PKCE is required. ' +
        'An error is sent to `redirect_uri`, too, unless the client or that URI is wrong.',
      tags: tagged('OAuth clients'),
      security: [],
      querystring: authorizeQuery,
      response: { ...redirection, ...page, ...problemResponses('not_found', 'rate_limited') },
    },
    handler: async (request, reply) => {
      const [first, ...others] = issuers()
      if (first === undefined || providers === null) throw noLogin()
      const read = readAuthorizationRequest(queryOf(request), { ownPages, publicUrl })
      if ('redirectTo' in read) return redirect(reply, read.redirectTo)
      const asked = read.issuer === undefined ? undefined : findIssuer(read.issuer)
      if (read.issuer !== undefined && asked === undefined) {
        const names = [first, ...others].map(({ name }) => name).join(', ')
        const rule = `issuer must be one of ${names}, or left out.`
        return redirect(reply, refusalOf(read.request, publicUrl, 'invalid_request', rule))
      }
      if (asked === undefined && others.length > 0) {
        const choices = [first, ...others].map(({ name, login }) => {
          const query = queryOf(request)
          query.set('issuer', name)
          return { label: login.label, url: `${links.authorize}?${query}` }
        })
        return sendPage(reply, chooseProviderPage({ basePath, choices }))
      }
      const issuer = asked ?? first
      const { progress, cookie } = beginLogin(issuer, publicUrl, read.request, clock())
      const { forcesLogin } = read
      const url = await providers.loginUrl(issuer, progress, { forcesLogin }).catch((error: unknown) => {
        request.log.warn({ err: error, issuer: issuer.name }, 'the identity provider cannot be reached')
        const reason = describe('temporarily_unavailable', issuer)
        return refusalOf(read.request, publicUrl, 'temporarily_unavailable', reason)
      })
      makeRoom(request, reply, cookie)
      setCookie(reply, progress.id, cookie, 'lax')
      return redirect(reply, url)
    },
  })

  app.route({
    method: 'GET',
    url: '/connect/callback',
    attachValidation: true,
    schema: {
      operationId: 'loginCallback',
      summary: 'Come back from the identity provider',
      description:
        'The redirect URI that the operator registers at the identity provider. It shows the page on which the person allows ' +
        'the program to get a key, or sends an error of the provider to the program.',
      tags: tagged('OAuth clients'),
      security: [],
      querystring: callbackQuery,
      response: {
        ...redirection,
        ...page,
        ...problemResponses(
          'login_failed',
          'identity_not_allowed',
          'not_found',
          'rate_limited',
          ...STORE_ERRORS,
        ),
      },
    },
    handler: async (request, reply) => {
      if (federation === null || providers === null) throw noLogin()
      const query = queryOf(request)
      const [id = '', ...more] = query.getAll('state')
      const cookie = ID.test(id) && more.length === 0 ? request.cookies[prefix + id] : undefined
      const found =
        cookie === undefined ? undefined : readProgress(cookie, id, publicUrl, findIssuer, clock())
      if (found === undefined) throw notOfThisBrowser()
      const { issuer, progress } = found
      clearCookie(reply, id)
      ways.set(request, waysFrom(progress.request, issuer))
      const result = await providers.finishLogin(issuer, progress, query).catch((error: ServiceError) => {
        request.log.warn({ err: error, issuer: issuer.name }, 'a login failed')
        throw error
      })
      if ('error' in result) {
        const { error, reason } = result
        if (error !== 'access_denied')
          request.log.warn({ err: reason, issuer: issuer.name }, 'the identity provider refused a login')
        return redirect(reply, refusalOf(progress.request, publicUrl, error, describe(error, issuer)))
      }
      const token = await grantedTo(request, federation, issuer, result.claims)
      const confirmation = {
        ...{ id, request: progress.request },
        claims: claimsForRules(federation.trust(), issuer, result.claims),
      }
      const asked = askForConfirmation(issuer, publicUrl, confirmation, clock())
      if (asked.field.length > LONGEST_LOGIN) throw tooLong(issuer)
      setCookie(reply, id, asked.cookie, 'strict')
      const content = confirmationPage({
        ...{ basePath, apiBaseUrl: config.apiBaseUrl, field: asked.field },
        person: personOf(result.claims, issuer),
        asking: askingOf(progress.request),
        plans: token.plans.length > 0 ? token.plans : [config.plans[0].name],
        keyTtlMs: token.keyTtlMs,
      })
      return sendFormPage(reply, content, new URL(progress.request.redirectUri).origin)
    },
  })

  app.route({
    method: 'POST',
    url: '/connect/confirm',
    schema: {
      // Only the page that `/connect/callback` shows sends this form.
      hide: true,
    },
    handler: async (request, reply) => {
      if (federation === null) throw noLogin()
      const form = confirmationForm.parse(request.body ?? {})
      const read = readConfirmation(form.login ?? '', publicUrl, findIssuer, clock())
      // Another site may send this form, and with a login of its own: SameSite, the Origin and the cookie each prevent that.
      const cookie = request.cookies[prefix + (read?.confirmation.id ?? '')]
      const isOwnForm = request.headers.origin === origin && isSameOrigin(request)
      if (read === undefined || cookie === undefined || !isOwnForm || !read.isFrom(cookie))
        throw notOfThisBrowser()
      const { issuer, confirmation } = read
      if (form.decision !== 'allow' && form.decision !== 'cancel')
        throw new ServiceError('invalid_request', 'decision must be allow or cancel.')
      clearCookie(reply, confirmation.id)
      const { redirectUri, state } = confirmation.request
      if (form.decision === 'cancel')
        return redirect(
          reply,
          refusalOf(confirmation.request, publicUrl, 'access_denied', 'The person refused.'),
        )
      ways.set(request, waysFrom(confirmation.request, issuer))
      await grantedTo(request, federation, issuer, confirmation.claims)
      const code = createLoginCode(issuer, publicUrl, confirmation.request, confirmation.claims, clock())
      return redirect(reply, withParameters(redirectUri, { code, state, iss: publicUrl }))
    },
  })

  app.route({
    method: 'GET',
    url: '/connect/code',
    attachValidation: true,
    schema: {
      operationId: 'loginCode',
      summary: 'Show the code of a login',
      description:
        'A `redirect_uri` for programs on computers without a browser: it shows the code, which the person gives to the program.',
      tags: tagged('OAuth clients'),
      security: [],
      querystring: codeQuery,
      response: { ...page, ...problemResponses('not_found', 'rate_limited') },
    },
    handler: async (request, reply) => {
      if (issuers().length === 0) throw noLogin()
      const query = queryOf(request)
      const code = query.get('code') ?? ''
      // Anything else would be shown as if this service had said it.
      if (/^[\w.-]+$/.test(code))
        return sendPage(reply, codePage({ basePath, code, seconds: CODE_TTL_MS / 1_000 }))
      const isDenied = query.get('error') === 'access_denied'
      const reason = isDenied ? 'You did not allow the program to get a key.' : 'The login did not succeed.'
      return sendPage(reply, noCodePage({ basePath, reason }))
    },
  })

  function askingOf({ redirectUri }: AuthorizationRequest): Asking {
    const target = targetOf(redirectUri, ownPages)
    if (target?.kind === 'program') return target
    return { kind: redirectUri === links.home ? 'form' : 'code' }
  }
}

/** Loads the library for logins where there can be one: it would cost every start 30 ms. */
async function providersAt(callbackUrl: string, proxies: ProxyVariables): Promise<IdentityProviders> {
  const { createIdentityProviders } = await import('../auth/login/identity-provider.ts')
  return createIdentityProviders(callbackUrl, proxies)
}

/** A parameter of a query, which its route checks itself. */
const parameter = (description: string, example: string) =>
  z
    .string()
    .optional()
    .describe(description)
    .meta({ examples: [example] })

const authorizeQuery = z.object({
  response_type: parameter('`code`', 'code'),
  client_id: parameter('`firstkey`', CLIENT_ID),
  redirect_uri: parameter(
    'An address of the same computer, with any port and path, or `/connect/code` of this service',
    'http://127.0.0.1:5123/callback',
  ),
  code_challenge: parameter(
    'The SHA-256 of the code verifier, in base64url (RFC 7636)',
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
  ),
  code_challenge_method: parameter('`S256`', 'S256'),
  state: parameter('Returned unchanged: at most 1024 printable ASCII characters', 'af0ifjsldkj'),
  issuer: parameter(
    'The provider to log in at, where there are several; without it, the person chooses',
    'staff',
  ),
  prompt: parameter('`login`: log in again, although the provider knows the browser', 'login'),
})
const callbackQuery = z.object({
  state: parameter('The state that this service sent to the provider', 'xvIDNMD8SvbGmWdbLSuBUw'),
  code: parameter('The code of the provider', 'SplxlOBeZQQYbYS6WxSbIA'),
  iss: parameter('The issuer (RFC 9207)', 'https://login.example.com'),
  error: parameter('The error of the provider', 'access_denied'),
})
const codeQuery = z.object({
  code: parameter('The code', 'staff.AajoZmv'),
  error: parameter('The error, if there is no code', 'access_denied'),
})
const confirmationForm = z.object({ login: z.string().optional(), decision: z.string().optional() })

const redirection = {
  // The headers are for the document: a schema alone has none.
  303: Object.assign(z.null().describe('A redirect.'), { headers: headersOf('Location') }),
}
const page = { 200: { description: 'A page.', content: pageContent } }

/** Returns the parameters of a request with all their repetitions. */
function queryOf({ url }: FastifyRequest): URLSearchParams {
  return new URL(url, 'http://localhost').searchParams
}

/** Browsers that do not send the header send `Origin`. */
function isSameOrigin({ headers }: FastifyRequest): boolean {
  return (headers['sec-fetch-site'] ?? 'same-origin') === 'same-origin'
}

function personOf(claims: Readonly<Record<string, unknown>>, { login }: LoginIssuer): Person {
  const textOf = (name: string) => {
    const value = claims[name]
    return typeof value === 'string' && value !== '' ? value.slice(0, 200) : undefined
  }
  const email = textOf('email')
  const name = textOf('name') ?? textOf('preferred_username') ?? email ?? textOf('sub') ?? ''
  return { name, email, provider: login.label }
}

function describe(error: string, { login }: LoginIssuer): string {
  if (error === 'access_denied') return `The login at ${login.label} was cancelled or refused.`
  if (error === 'temporarily_unavailable')
    return `${login.label} cannot be reached right now. Try again later.`
  return `${login.label} refused the login of this service. The operator finds the reason in the log.`
}

function noLogin(): ServiceError {
  return new ServiceError('not_found', 'This service offers no login.', {
    nextStep: 'Register with a bootstrap token from the operator.',
  })
}

function tooLong({ url, login }: LoginIssuer): ServiceError {
  return new ServiceError(
    'login_failed',
    `${login.label} says more about you than a login can carry: a claim that the rules look at is too long.`,
    {
      nextStep: 'Give the operator the request id: another claim has to be in the rules.',
      identity: { issuer: url, rule: null, claims: {} },
    },
  )
}

function notOfThisBrowser(): ServiceError {
  return new ServiceError(
    'login_failed',
    'This is not a login that this browser has in progress: it may have taken more than 10 minutes, or be finished, or have ' +
      'begun in another browser.',
  )
}
