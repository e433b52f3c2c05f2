import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
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
  'invalid_request',
] as const

/**
 * Makes the routes of a plugin respond in the OAuth dialect, and name the endpoint for OAuth clients, to requests that such
 * clients mean for an endpoint of theirs. A client that finds no metadata registers at `/register` (MCP specification
 * 2025-03-26, authorization, section 2.3.3).
 */
export function redirectOauthClients(app: FastifyInstance, publicUrl: string): void {
  app.setErrorHandler(async (error: Error, request, reply) => {
    const { code, message } = toServiceError(error)
    const isClient = isRedirected(code) && isClientMetadata(await peekBody(request))
    if (reply.sent) return reply // The body did not arrive in time.
    if (!isClient) throw error
    const { connect } = linksOf(publicUrl)
    const redirection = new ServiceError(
      code,
      `${message} OAuth clients register at ${connect} (RFC 7591), with the bootstrap token as initial access token.`,
      {
        nextStep: `Send the same request to ${connect}, with "Authorization: Bearer fkb_…": a bootstrap token from the operator.`,
      },
    )
    return sendOauthError(reply, request, redirection, publicUrl, error)
  })
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

/** Explains at the other two endpoints that such clients assume, `/authorize` and `/token`, that there is no OAuth flow. */
export async function explainNoFlow(app: FastifyInstance, publicUrl: string): Promise<void> {
  const { connect } = linksOf(publicUrl)
  const nextStep = `Register at ${connect} (RFC 7591): "client_secret" in the response is an API key for the header x-api-key.`
  const absent = (kind: string) =>
    new ServiceError('not_found', `There is no ${kind} endpoint: the client secret is an API key.`, {
      nextStep,
    })
  await app.register(
    async (endpoint) => {
      endpoint.setNotFoundHandler(() => {
        throw absent('authorization')
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
        throw absent('token')
      })
    },
    { prefix: '/token' },
  )
}
