import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import type { Deps } from '../deps.ts'
import { authenticate, authenticated } from '../http/authenticate.ts'
import { readCallersKey } from '../http/idempotency-key.ts'
import { redirectedResponses, redirectOauthClients } from '../http/oauth-fallbacks.ts'
import { tagged } from '../http/openapi.ts'
import { STORE_ERRORS, UPSTREAM_ERRORS } from '../http/openapi-errors.ts'
import type { RateLimits } from '../http/rate-limit.ts'
import { headersOf } from '../http/response-headers.ts'
import { negotiate } from '../http/send-page.ts'
import { register } from '../registration/register.ts'
import { identitiesOf } from './accepted-identities.ts'
import {
  credentialExample,
  credentialSchema,
  registerBody,
  registerExample,
  registerHeaders,
  shellLinesExample,
  shellLinesSchema,
  toAnswer,
  toShellLines,
} from './register-schema.ts'
import { prepareCredential, requestContext } from './request-context.ts'

/** The codes that a request to mint a key can return, at first or as a retry. */
export const MINT_ERRORS = [
  ...(['missing_token', 'invalid_token', 'rate_limited', 'overloaded', 'key_quota_reached'] as const),
  ...(['invalid_idempotency_key', 'idempotency_in_progress', 'idempotency_mismatch'] as const),
  ...(['registration_ended', 'registration_suspended', 'key_replaced'] as const),
  ...STORE_ERRORS,
  ...UPSTREAM_ERRORS,
]
/** The codes that a registration of a federated caller can return besides. */
const IDENTITY_ERRORS = [
  ...(['rotation_in_progress'] as const),
  ...(['issuer_not_trusted', 'audience_mismatch', 'token_replayed', 'identity_not_allowed'] as const),
  ...(['identity_limit_reached', 'already_registered', 'identity_provider_unavailable'] as const),
]
/** The codes that a registration can return. */
export const REGISTER_ERRORS = [
  ...IDENTITY_ERRORS,
  ...(['token_expired', 'token_revoked', 'token_exhausted', 'token_uses_pending'] as const),
  ...(['plan_not_allowed', 'name_not_allowed'] as const),
  ...MINT_ERRORS,
]

/** `POST /register`: turns a bootstrap token, or an identity token, into a working API key. */
export const registerRoute: FastifyPluginAsyncZod<{ deps: Deps; limits: RateLimits }> = async (
  app,
  { deps, limits },
) => {
  const { config, federation } = deps
  redirectOauthClients(app, config.publicUrl, () => identitiesOf(federation))
  app.route({
    method: 'POST',
    url: '/register',
    config: { counted: 'register' },
    onRequest: [authenticate(deps), limits.byToken],
    schema: {
      operationId: 'register',
      summary: 'Get an API key',
      description:
        'Mints an API key on a usage plan. The key value and the management token are shown only in this response. With an ' +
        'identity token, a name that is registered already may get a new key and a new management token (the rule of the ' +
        'identity decides): then `registration_id` is the same as before.',
      tags: tagged('Register'),
      security: [{ bootstrapToken: [] }, { identityToken: [] }],
      headers: registerHeaders,
      body: registerBody.meta({ examples: [registerExample] }),
      response: {
        201: {
          description:
            'The new key, as JSON or, with `Accept: text/plain`, as variables for a shell (`FIRSTKEY_API_KEY=…`).',
          headers: headersOf('Location', 'Idempotency-Replayed', 'Preference-Applied', 'Vary'),
          content: {
            'application/json': { schema: credentialSchema, example: credentialExample },
            'text/plain': { schema: shellLinesSchema, example: shellLinesExample },
          },
        },
        ...redirectedResponses(...REGISTER_ERRORS),
      },
    },
    handler: async (request, reply) => {
      const caller = authenticated(request)
      const { name, description = '', plan = '' } = request.body
      const credential = await register(
        deps,
        caller,
        {
          ...{ name, description, plan, clientMetadata: null },
          idempotencyKey: readCallersKey(request.headers['idempotency-key'], caller),
        },
        requestContext(request, reply, config),
      )
      const answer = toAnswer(credential)
      prepareCredential(reply, credential, deps.deliveries)
      reply.code(201).headers({ location: answer.management.url, vary: 'Prefer' })
      if (negotiate(request, reply, ['application/json', 'text/plain']) === 'text/plain') {
        return reply.type('text/plain; charset=utf-8').send(toShellLines(answer))
      }
      return answer
    },
  })
}
