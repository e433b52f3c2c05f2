import type { FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { ACCESS_TOKEN_TTL_MS, issueAccessToken } from '../auth/access-token.ts'
import { type Caller, whyUnusable } from '../auth/bootstrap-token.ts'
import type { Federation } from '../auth/federation/federation.ts'
import { authenticateIdentityToken, federatedCaller } from '../auth/identity-token.ts'
import { CLIENT_ID } from '../auth/login/authorization-request.ts'
import { readLoginCode, usedCode } from '../auth/login/login-code.ts'
import type { Deps } from '../deps.ts'
import { ServiceError } from '../errors.ts'
import { actorOf, identify, whereOf } from '../http/authenticate.ts'
import { tagged } from '../http/openapi.ts'
import { STORE_ERRORS } from '../http/openapi-errors.ts'
import type { RateLimits } from '../http/rate-limit.ts'
import { FORM_TYPE, readForms } from '../http/read-form.ts'
import { headersOf } from '../http/response-headers.ts'
import { answerTokenErrors, tokenErrorResponses } from '../http/token-error.ts'
import { loginIssuers } from './login-issuers.ts'

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

/** The token endpoint (RFC 6749, section 3.2): it exchanges an identity token or a login for a token for one registration. */
export const tokenRoute: FastifyPluginAsyncZod<{ deps: Deps; limits: RateLimits }> = async (
  app,
  { deps, limits },
) => {
  const { config, store, federation, clock } = deps
  answerTokenErrors(app, config.publicUrl)
  readForms(app)
  app.route({
    method: 'POST',
    url: '/connect/token',
    config: { counted: 'exchange' },
    attachValidation: true,
    schema: {
      operationId: 'issueToken',
      summary: 'Exchange an identity token or a login for a bootstrap token (RFC 6749, RFC 7523)',
      description:
        'The token in the response is good for one registration within ten minutes, at `/register` and at `/connect/register`. ' +
        'There is this endpoint only where the operator trusts issuers of identity tokens, and the grant type ' +
        '`authorization_code` only where people can log in.',
      tags: tagged('OAuth clients'),
      security: [],
      consumes: [FORM_TYPE],
      body: tokenForm,
      response: {
        200: {
          description: 'The token.',
          headers: headersOf('Pragma'),
          content: { 'application/json': { schema: tokenResponse, example: tokenExample } },
        },
        ...tokenErrorResponses(...TOKEN_ERRORS),
      },
    },
    handler: async (request, reply) => {
      if (federation === null) {
        throw new ServiceError(
          'not_found',
          'There is no token endpoint: this service trusts no issuers of identity tokens.',
          {
            nextStep: 'Register with a bootstrap token from the operator.',
          },
        )
      }
      const form = tokenForm.parse(request.body ?? {})
      checkClient(request.headers.authorization, form)
      const caller = await callerOfGrant(request, form, federation)
      identify(request, caller)
      const unusable = whyUnusable(caller.token, clock(), caller)
      if (unusable !== undefined) throw unusable
      await limits.byToken(request, reply)
      const { token, proof } = caller
      const secret = await issueAccessToken(store, token, proof, actorOf(request), clock())
      if (secret === undefined) throw form.code === undefined ? replayed() : usedCode()
      const expires_in = ACCESS_TOKEN_TTL_MS / 1_000
      return reply
        .header('pragma', 'no-cache')
        .send({ access_token: secret, token_type: 'Bearer', expires_in })
    },
  })

  async function callerOfGrant(
    request: FastifyRequest,
    form: TokenForm,
    federation: Federation,
  ): Promise<Caller> {
    const issuers = loginIssuers(federation)
    const grants = [JWT_BEARER, ...(issuers.length > 0 ? ['authorization_code'] : [])]
    if (form.grant_type === undefined) throw missing('grant_type', grants.join(' or '))
    if (!grants.includes(form.grant_type)) {
      const detail = `grant_type must be ${grants.join(' or ')}.`
      throw new ServiceError('unsupported_grant_type', detail)
    }
    if (form.grant_type === JWT_BEARER) {
      if (form.assertion === undefined) throw missing('assertion', 'an identity token (JWT)')
      return authenticateIdentityToken(deps, form.assertion, whereOf(request))
    }
    const { code, redirect_uri: redirectUri, code_verifier: verifier } = form
    if (code === undefined) throw missing('code', 'the code of the login')
    if (redirectUri === undefined) throw missing('redirect_uri', 'that of the login')
    if (verifier === undefined)
      throw missing('code_verifier', 'the verifier of the code_challenge (RFC 7636)')
    if (form.client_id === undefined && request.headers.authorization === undefined)
      throw missing('client_id', CLIENT_ID)
    const find = (name: string) => issuers.find((issuer) => issuer.name === name)
    const sent = { code, redirectUri, verifier }
    const { issuer, claims, proof } = readLoginCode(sent, config.publicUrl, find, clock())
    return federatedCaller({ store, federation }, { issuer, claims, proof }, whereOf(request))
  }
}

/** The codes with which the token endpoint refuses a request. */
const TOKEN_ERRORS = [
  ...([
    'invalid_client',
    'invalid_grant',
    'unsupported_grant_type',
    'invalid_token',
    'token_expired',
  ] as const),
  ...(['issuer_not_trusted', 'audience_mismatch', 'token_replayed', 'identity_not_allowed'] as const),
  ...(['identity_provider_unavailable', 'not_found', 'rate_limited'] as const),
  ...STORE_ERRORS,
] as const

const text = z.string().optional()

const tokenForm = z
  .object({
    grant_type: text.describe(`\`${JWT_BEARER}\` or \`authorization_code\``),
    assertion: text.describe('With the first: the identity token'),
    code: text.describe('With the other: the code of the login'),
    redirect_uri: text.describe('As in the request for the code'),
    code_verifier: text.describe('The text whose SHA-256 is the code challenge (RFC 7636)'),
    client_id: text.describe('`firstkey`: required with `authorization_code`'),
    client_secret: text.describe('Must be absent: the client is public'),
    client_assertion: text.describe('Must be absent, too'),
  })
  .meta({
    examples: [{ grant_type: JWT_BEARER, assertion: 'eyJhbGciOiJSUzI1NiJ9.….…' }],
  })
type TokenForm = z.infer<typeof tokenForm>

const tokenResponse = z
  .object({
    access_token: z.string().describe('A bootstrap token for one registration'),
    token_type: z.literal('Bearer').describe('How to send it: `Authorization: Bearer …`'),
    expires_in: z.int().describe('The seconds within which it has to be used'),
  })
  .meta({ id: 'AccessToken' })

const tokenExample: z.infer<typeof tokenResponse> = {
  access_token: 'fkb_…',
  token_type: 'Bearer',
  expires_in: ACCESS_TOKEN_TTL_MS / 1_000,
}

/**
 * Checks that the client is the public one, if it names itself: in the body, or as the user of HTTP Basic without a password (RFC
 * 6749, section 2.3.1).
 * @throws ServiceError `invalid_client`
 */
function checkClient(authorization: string | undefined, form: TokenForm): void {
  if (form.client_secret !== undefined || form.client_assertion !== undefined)
    throw unknownClient('The client is public: it has no secret and signs no assertion.')
  if (form.client_id !== undefined && form.client_id !== CLIENT_ID)
    throw unknownClient(`client_id must be ${CLIENT_ID}.`)
  if (authorization === undefined) return
  const [, encoded = ''] = authorization.match(/^basic +([\w+/=]+) *$/i) ?? []
  if (Buffer.from(encoded, 'base64').toString() !== `${CLIENT_ID}:`)
    throw unknownClient(
      `The Authorization header names another client than ${CLIENT_ID}, which has no password.`,
    )
}

function unknownClient(detail: string): ServiceError {
  return new ServiceError('invalid_client', detail)
}

function missing(name: string, rule: string): ServiceError {
  return new ServiceError('invalid_request', `${name} is required: ${rule}.`, {
    errors: [{ path: `/${name}`, message: 'is required' }],
  })
}

function replayed(): ServiceError {
  return new ServiceError('token_replayed', 'The identity token was already used: it is accepted once.')
}
