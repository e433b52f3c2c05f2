import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Deps } from '../deps.ts'
import { actorOf, authenticateManager, managing } from '../http/authenticate.ts'
import { readIdempotencyKey } from '../http/idempotency-key.ts'
import { tagged } from '../http/openapi.ts'
import { problemResponses, STORE_ERRORS, UPSTREAM_ERRORS } from '../http/openapi-errors.ts'
import type { RateLimits } from '../http/rate-limit.ts'
import { headersOf } from '../http/response-headers.ts'
import { pageContent } from '../http/send-page.ts'
import { viewRegistration } from '../registration/queries/registration-view.ts'
import { readUsage } from '../registration/queries/usage.ts'
import { revoke } from '../registration/revoke.ts'
import { rotate } from '../registration/rotate.ts'
import { managementPage } from './management-page.ts'
import { MINT_ERRORS } from './register.ts'
import { registerHeaders } from './register-schema.ts'
import {
  registrationExample,
  registrationParams,
  registrationSchema,
  rotateBody,
  rotatedExample,
  rotatedSchema,
  toRegistrationAnswer,
  toRotatedAnswer,
} from './registration-schema.ts'
import { prepareCredential, requestContext } from './request-context.ts'
import { toUsageAnswer, usageExample, usageQuery, usageSchema } from './usage-schema.ts'

const security = [{ managementToken: [] }]
/** The codes that every request to manage a registration can return. */
export const MANAGE_ERRORS = [
  ...(['missing_token', 'invalid_token', 'not_found', 'rate_limited', 'upstream_unavailable'] as const),
  ...STORE_ERRORS,
]

/** `/register/{id}`: lets the owner of a registration manage it with its management token. */
export const registrationRoutes: FastifyPluginAsyncZod<{ deps: Deps; limits: RateLimits }> = async (
  app,
  { deps, limits },
) => {
  const { store, clock, liveness, config, deliveries } = deps
  const onRequest = [authenticateManager(store, deliveries.confirm), limits.byRegistration]
  const onGet = [managementPage(config.publicUrl), ...onRequest]
  app.route({
    method: 'GET',
    url: '/register/:id',
    onRequest: onGet,
    schema: {
      operationId: 'getRegistration',
      summary: 'Get the status of a registration',
      description:
        'Returns everything but the value of the key, which only its owner has. A browser, which sends no token, gets a ' +
        'page that asks for it.',
      tags: tagged('Manage'),
      security,
      params: registrationParams,
      response: {
        200: {
          description: 'The registration, or the page.',
          headers: headersOf('Vary'),
          content: {
            'application/json': { schema: registrationSchema, example: registrationExample },
            ...pageContent,
          },
        },
        ...problemResponses(...MANAGE_ERRORS),
      },
    },
    handler: async (request) => {
      const view = await viewRegistration(store, managing(request).registration, clock())
      const { apiKeyId: keyId, usagePlanId, tokenId, status } = view.current
      const isGone = keyId === null || status === 'ended'
      const health = isGone
        ? { live: false, ready: deps.keyProbe === null ? null : false, usagePlanId: null }
        : await liveness.check({ keyId, usagePlanId, tokenId })
      return toRegistrationAnswer(view, health, config.plans)
    },
  })
  app.route({
    method: 'GET',
    url: '/register/:id/usage',
    onRequest: onGet,
    schema: {
      operationId: 'getUsage',
      summary: 'Get the usage of a registration, day by day',
      description:
        'Adds up the requests of all keys of the registration. Of a replaced key those count that API Gateway had reported ' +
        'when it was deleted. The limits apply to each key separately, on a best-effort basis.',
      tags: tagged('Manage'),
      security,
      params: registrationParams,
      querystring: usageQuery,
      response: {
        200: {
          description: 'The usage figures of API Gateway, day by day, or the page.',
          headers: headersOf('Vary'),
          content: { 'application/json': { schema: usageSchema, example: usageExample }, ...pageContent },
        },
        ...problemResponses(...MANAGE_ERRORS, ...UPSTREAM_ERRORS, 'upstream_unsupported'),
      },
    },
    handler: async (request) => {
      const { from, to } = request.query
      const view = await viewRegistration(store, managing(request).registration, clock())
      return toUsageAnswer(await readUsage(deps, view, { from, to }))
    },
  })
  app.route({
    method: 'DELETE',
    url: '/register/:id',
    config: { counted: 'revoke' },
    onRequest,
    schema: {
      operationId: 'revokeRegistration',
      summary: 'Revoke a registration',
      description:
        'Deletes the key, and the previous key if it still overlaps. Repeating the request is safe and returns the same.',
      tags: tagged('Manage'),
      security,
      params: registrationParams,
      response: {
        204: z.null().describe('The key is deleted.'),
        ...problemResponses(...MANAGE_ERRORS, ...UPSTREAM_ERRORS),
      },
    },
    handler: async (request, reply) => {
      const { registration } = managing(request)
      await revoke(deps, registration.id, actorOf(request))
      return reply.code(204).send(null)
    },
  })
  app.route({
    method: 'POST',
    url: '/register/:id/rotate',
    config: { counted: 'rotate' },
    onRequest: [
      authenticateManager(store, deliveries.confirm, { acceptOutdated: true }),
      limits.byRegistration,
    ],
    schema: {
      operationId: 'rotateKey',
      summary: 'Rotate the key',
      description:
        'Mints a new key on the plan of the current one, which is shown only in this response. The current key keeps working for ' +
        '`overlap_seconds`, counted from the response; until then it is not changed. If the previous key still overlaps ' +
        'from an earlier rotation, it is deleted.',
      tags: tagged('Manage'),
      security,
      params: registrationParams,
      headers: registerHeaders,
      body: rotateBody,
      response: {
        201: {
          description: 'The new key.',
          headers: headersOf('Idempotency-Replayed', 'Preference-Applied'),
          content: { 'application/json': { schema: rotatedSchema, example: rotatedExample } },
        },
        ...problemResponses(...MANAGE_ERRORS, ...MINT_ERRORS, 'rotation_in_progress', 'upstream_unsupported'),
      },
    },
    handler: async (request, reply) => {
      const { overlap_seconds, management_token: renewsManagement } = request.body
      const idempotencyKey = readIdempotencyKey(request.headers['idempotency-key'])
      const credential = await rotate(
        deps,
        managing(request),
        { overlapMs: overlap_seconds * 1_000, renewsManagement, idempotencyKey },
        requestContext(request, reply, config),
      )
      prepareCredential(reply, credential, deliveries)
      return reply.code(201).send(toRotatedAnswer(credential))
    },
  })
}
