import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import type { Deps } from '../deps.ts'
import { authenticate, authenticated } from '../http/authenticate.ts'
import { readIdempotencyKey } from '../http/idempotency-key.ts'
import { problemResponses } from '../http/problem.ts'
import type { RateLimits } from '../http/rate-limit.ts'
import { register } from '../registration/register.ts'
import { announce, callOf } from './call.ts'
import {
  credentialSchema,
  registerBody,
  registerHeaders,
  shellLinesSchema,
  toAnswer,
  toShellLines,
} from './register-schema.ts'

/** Every code that a registration can end with. */
export const REGISTER_ERRORS = [
  ...(['invalid_request', 'missing_token', 'invalid_token', 'token_expired', 'token_revoked'] as const),
  ...(['token_exhausted', 'plan_not_allowed', 'name_not_allowed', 'payload_too_large'] as const),
  ...(['unsupported_media_type', 'rate_limited', 'internal', 'upstream_misconfigured'] as const),
  ...(['upstream_throttled', 'upstream_unavailable', 'key_quota_reached', 'overloaded'] as const),
  ...(['store_unavailable', 'shutting_down', 'invalid_idempotency_key'] as const),
  ...(['idempotency_in_progress', 'idempotency_mismatch', 'registration_ended'] as const),
  'key_replaced' as const,
]

/** `POST /register`: a bootstrap token in, a working API key out. */
export const registerRoute: FastifyPluginAsyncZod<{ deps: Deps; limits: RateLimits }> = async (
  app,
  { deps, limits },
) => {
  const { config } = deps
  app.route({
    method: 'POST',
    url: '/register',
    onRequest: [authenticate(deps.store), limits.byToken],
    schema: {
      operationId: 'register',
      summary: 'Get an API key of your own',
      description:
        'Mints an API key on a usage plan. The key value and the management token are shown only here.',
      security: [{ bootstrapToken: [] }],
      headers: registerHeaders,
      body: registerBody,
      response: {
        201: {
          description: 'The new key. With `Accept: text/plain`, lines for a shell instead.',
          content: {
            'application/json': { schema: credentialSchema },
            'text/plain': { schema: shellLinesSchema },
          },
        },
        ...problemResponses(...REGISTER_ERRORS),
      },
    },
    handler: async (request, reply) => {
      const { name, description = '', plan } = request.body
      const credential = await register(
        deps,
        authenticated(request),
        { name, description, plan, idempotencyKey: readIdempotencyKey(request.headers['idempotency-key']) },
        callOf(request, reply, config),
      )
      const answer = toAnswer(credential)
      announce(reply, credential)
      reply.code(201).headers({ location: answer.management.url, vary: 'Accept, Prefer' })
      if (request.accepts().type(['application/json', 'text/plain']) === 'text/plain') {
        return reply.type('text/plain; charset=utf-8').send(toShellLines(answer))
      }
      return answer
    },
  })
}
