import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Identities } from '../discovery/identities.ts'
import { linksOf } from '../discovery/links.ts'
import type { ErrorCode } from '../error-catalogue.ts'
import { ServiceError } from '../errors.ts'
import { oauthErrorResponses, sendOauthError } from './oauth-error.ts'
import { problemResponses } from './openapi-errors.ts'
import { problemStatus, toServiceError } from './problem.ts'
import { peekBody } from './read-body.ts'

/** The client metadata about an OAuth flow: only OAuth clients send it, also beside a member `name`, as RFC 7591 allows. */
const FLOW_METADATA = ['redirect_uris', 'token_endpoint_auth_method', 'grant_types', 'response_types']
/** The client metadata of RFC 7591, section 2. */
const CLIENT_METADATA = [
  ...FLOW_METADATA,
  ...[
    'client_name',
    'client_uri',
    'logo_uri',
    'scope',
    'contacts',
    'tos_uri',
    'policy_uri',
    'jwks_uri',
    'jwks',
  ],
  ...['software_id', 'software_version', 'software_statement'],
]
/** The codes of the requests that are read for client metadata: those without a valid token, and those with an invalid body. */
const REDIRECTED = [
  ...(['missing_token', 'invalid_token', 'token_expired', 'token_revoked'] as const),
  ...(['issuer_not_trusted', 'audience_mismatch', 'token_replayed'] as const),
  'invalid_request',
] as const

/**
 * Makes the routes of a plugin respond in the OAuth dialect, and name the endpoint for OAuth clients, to requests that such
 * clients mean for an endpoint of theirs. A client that finds no metadata registers at `/register` (MCP specification
 * 2025-03-26, authorization, section 2.3.3).
 */
export function redirectOauthClients(
  app: FastifyInstance,
  publicUrl: string,
  identities: () => Identities | null,
): void {
  app.setErrorHandler(async (error: Error, request, reply) => {
    const found = toServiceError(error)
    const isClient = isRedirected(found.code) && isClientMetadata(await peekBody(request))
    if (reply.sent) return reply // The body did not arrive in time.
    if (!isClient) throw error
    return sendOauthError(reply, request, withRegistration(found, publicUrl, identities()), publicUrl, error)
  })
}

/**
 * Returns the error handler of the endpoint where clients register. Those that found it in metadata send no token at first:
 * the response says where one comes from.
 */
export function explainMissingToken(publicUrl: string, identities: () => Identities | null) {
  return (error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const found = toServiceError(error)
    if (found.code !== 'missing_token') throw error
    return sendOauthError(reply, request, withRegistration(found, publicUrl, identities()), publicUrl, error)
  }
}

/** Adds to the error of an OAuth client where clients register, and with what. */
function withRegistration(
  { code, message }: ServiceError,
  publicUrl: string,
  identities: Identities | null,
): ServiceError {
  const { connect, authorizationServer } = linksOf(publicUrl)
  const login = identities?.hasLogin
    ? ` A login as the client "firstkey" gives a bootstrap token for one registration: ${authorizationServer} describes it (RFC 8414).`
    : ''
  return new ServiceError(
    code,
    `${message} OAuth clients register at ${connect} (RFC 7591), with the bootstrap token as initial access token.${login}`,
    {
      nextStep: `Send the same request to ${connect}, with "Authorization: Bearer fkb_…": a bootstrap token from the operator${
        login === '' ? '' : ' or from a login'
      }.`,
    },
  )
}

/** Adds to the `responses` of a route of {@link redirectOauthClients} those that OAuth clients get. */
export function redirectedResponses(...codes: ErrorCode[]) {
  const responses = problemResponses(...codes)
  const redirected = oauthErrorResponses(...REDIRECTED)
  for (const status of new Set(REDIRECTED.map((code) => problemStatus[code])))
    Object.assign(responses[status]?.content ?? {}, redirected[status]?.content)
  return responses
}

function isRedirected(code: ErrorCode): boolean {
  return REDIRECTED.some((one) => one === code)
}

function isClientMetadata(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return false
  const metadata = Object.hasOwn(body, 'name') ? FLOW_METADATA : CLIENT_METADATA
  // A language tag may follow (RFC 7591, section 2.2).
  return Object.keys(body).some((member) => metadata.some((one) => one === member.split('#', 1)[0]))
}

/**
 * Explains at the other two endpoints that such clients assume, `/authorize` and `/token`, where the endpoint is, or that
 * there is no OAuth flow.
 */
export async function explainNoFlow(
  app: FastifyInstance,
  publicUrl: string,
  identities: () => Identities | null,
): Promise<void> {
  const { connect, authorize, token, authorizationServer } = linksOf(publicUrl)
  const elsewhere = (kind: string, url: string) =>
    new ServiceError('not_found', `The ${kind} endpoint is ${url}.`, {
      nextStep: `Read the metadata of the authorization server: ${authorizationServer} (RFC 8414).`,
    })
  const absent = (kind: string) =>
    new ServiceError('not_found', `There is no ${kind} endpoint: the client secret is an API key.`, {
      nextStep: `Register at ${connect} (RFC 7591): "client_secret" in the response is an API key for the header x-api-key.`,
    })
  await app.register(
    async (endpoint) => {
      endpoint.setNotFoundHandler(() => {
        throw identities()?.hasLogin ? elsewhere('authorization', authorize) : absent('authorization')
      })
    },
    { prefix: '/authorize' },
  )
  await app.register(
    async (endpoint) => {
      endpoint.setErrorHandler((error: Error, request: FastifyRequest, reply: FastifyReply) =>
        sendOauthError(reply, request, toServiceError(error), publicUrl, error),
      )
      endpoint.setNotFoundHandler(() => {
        throw identities() === null ? absent('token') : elsewhere('token', token)
      })
    },
    { prefix: '/token' },
  )
}
