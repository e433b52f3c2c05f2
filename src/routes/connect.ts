import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Deps } from '../deps.ts'
import { errorCatalogue } from '../error-catalogue.ts'
import { ServiceError } from '../errors.ts'
import { actorOf, authenticate, authenticated, authenticateManager, managing } from '../http/authenticate.ts'
import { readCallersKey } from '../http/idempotency-key.ts'
import { answerOauthErrors, oauthErrorResponses } from '../http/oauth-error.ts'
import { explainMissingToken } from '../http/oauth-fallbacks.ts'
import { tagged } from '../http/openapi.ts'
import { UPSTREAM_ERRORS } from '../http/openapi-errors.ts'
import type { RateLimits } from '../http/rate-limit.ts'
import { headersOf } from '../http/response-headers.ts'
import { pageContent } from '../http/send-page.ts'
import { viewRegistration } from '../registration/queries/registration-view.ts'
import { register } from '../registration/register.ts'
import { revoke } from '../registration/revoke.ts'
import { identitiesOf } from './accepted-identities.ts'
import {
  clientExample,
  clientInformation,
  clientMetadata,
  metadataExample,
  readClientExample,
  readClientInformation,
  toClientInformation,
  toReadClientInformation,
} from './connect-schema.ts'
import { managementPage } from './management-page.ts'
import { REGISTER_ERRORS } from './register.ts'
import { registerHeaders } from './register-schema.ts'
import { MANAGE_ERRORS } from './registration.ts'
import { registrationParams } from './registration-schema.ts'
import { prepareCredential, requestContext } from './request-context.ts'

/**
 * OAuth dynamic client registration (RFC 7591) and its management (RFC 7592): the same registrations as at `/register`,
 * for clients that support only OAuth. The bootstrap token is the initial access token.
 */
export const connectRoutes: FastifyPluginAsyncZod<{ deps: Deps; limits: RateLimits }> = async (
  app,
  { deps, limits },
) => {
  const { config, store, clock, deliveries, federation } = deps
  answerOauthErrors(app, config.publicUrl)
  app.route({
    method: 'POST',
    url: '/connect/register',
    config: { counted: 'register' },
    onRequest: [authenticate(deps), limits.byToken],
    errorHandler: explainMissingToken(config.publicUrl, () => identitiesOf(federation)),
    schema: {
      operationId: 'registerClient',
      summary: 'Register an OAuth client and get an API key (RFC 7591)',
      description:
        'The client secret is the API key, and the client id is the id of the key. Store the secret and the registration ' +
        'access token: they cannot be retrieved later.',
      tags: tagged('OAuth clients'),
      security: [{ bootstrapToken: [] }, { identityToken: [] }],
      headers: registerHeaders,
      body: clientMetadata.meta({ examples: [metadataExample] }),
      response: {
        201: {
          description: 'The new client.',
          headers: headersOf('Idempotency-Replayed', 'Preference-Applied', 'Pragma'),
          content: { 'application/json': { schema: clientInformation, example: clientExample } },
        },
        ...oauthErrorResponses(...REGISTER_ERRORS),
      },
    },
    handler: async (request, reply) => {
      const caller = authenticated(request)
      const metadata = request.body
      const credential = await register(
        deps,
        caller,
        {
          name: metadata.client_name,
          description: '',
          plan: metadata.plan ?? '',
          idempotencyKey: readCallersKey(request.headers['idempotency-key'], caller),
          // An empty plan means the same as none, also to a retry.
          clientMetadata: JSON.stringify({ ...metadata, plan: metadata.plan || undefined }),
        },
        requestContext(request, reply, config),
      )
      prepareCredential(reply, credential, deliveries)
      return reply.code(201).header('pragma', 'no-cache').send(toClientInformation(credential, metadata))
    },
  })

  const onRequest = [authenticateManager(store, deliveries.confirm), limits.byRegistration]
  app.route({
    method: 'GET',
    url: '/connect/register/:id',
    onRequest: [managementPage(config.publicUrl), ...onRequest],
    schema: {
      operationId: 'readClient',
      summary: 'Read a client (RFC 7592)',
      description:
        'Returns the client with its metadata as registered, and without its secret, which is shown only at registration.',
      tags: tagged('OAuth clients'),
      security: [{ managementToken: [] }],
      params: registrationParams,
      response: {
        200: {
          description: 'The client, or for a browser, which sends no token, a page that asks for it.',
          headers: headersOf('Vary'),
          content: {
            'application/json': { schema: readClientInformation, example: readClientExample },
            ...pageContent,
          },
        },
        ...oauthErrorResponses(...MANAGE_ERRORS),
      },
    },
    handler: async (request) => {
      const { registration, secret } = managing(request)
      const view = await viewRegistration(store, registration, clock())
      const { apiKeyId } = view.current
      if (!['active', 'suspended'].includes(view.status) || apiKeyId === null) throw gone()
      return toReadClientInformation(view, apiKeyId, { secret, publicUrl: config.publicUrl })
    },
  })
  app.route({
    method: 'DELETE',
    url: '/connect/register/:id',
    config: { counted: 'revoke' },
    onRequest,
    schema: {
      operationId: 'deleteClient',
      summary: 'Delete a client (RFC 7592)',
      description: 'Deletes the key, and the previous key if it still overlaps.',
      tags: tagged('OAuth clients'),
      security: [{ managementToken: [] }],
      params: registrationParams,
      response: {
        204: z.null().describe('The key is deleted.'),
        ...oauthErrorResponses(...MANAGE_ERRORS, ...UPSTREAM_ERRORS),
      },
    },
    handler: async (request, reply) => {
      const { registration } = managing(request)
      const { current } = await viewRegistration(store, registration, clock())
      if (current.status === 'ended') throw gone()
      await revoke(deps, registration.id, actorOf(request))
      return reply.code(204).send(null)
    },
  })
}

/** Returns the error for a client that no longer exists: its token is invalid (RFC 7592, section 2). */
function gone(): ServiceError {
  return new ServiceError('invalid_token', 'The key of this client has expired or was revoked.', {
    nextStep: errorCatalogue.registration_ended.nextStep.replace('/register', '/connect/register'),
  })
}
