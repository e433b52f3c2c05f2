import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { problemResponses, STORE_ERRORS, UPSTREAM_ERRORS } from '../http/error-responses.ts'
import { tagged } from '../http/openapi.ts'
import type { Readiness } from '../registration/readiness.ts'

const liveSchema = z.object({ status: z.literal('live').describe('That it answers says all') })
const readySchema = z.object({ status: z.literal('ready').describe('Why not is told by an error') })

/** `GET /livez` and `GET /readyz`, for whoever watches the process. Their requests are neither logged nor counted. */
export const healthRoutes: FastifyPluginAsyncZod<{ readiness: Readiness }> = async (app, { readiness }) => {
  app.route({
    method: 'GET',
    url: '/livez',
    logLevel: 'warn',
    config: { rateLimit: false },
    schema: {
      operationId: 'livez',
      summary: 'Whether the process runs',
      description: 'Asks nobody: neither the store nor API Gateway.',
      tags: tagged('Health'),
      security: [],
      response: {
        200: {
          description: 'It runs.',
          content: { 'application/json': { schema: liveSchema, example: { status: 'live' } } },
        },
        ...problemResponses(),
      },
    },
    handler: async () => ({ status: 'live' as const }),
  })
  app.route({
    method: 'GET',
    url: '/readyz',
    logLevel: 'warn',
    config: { rateLimit: false },
    schema: {
      operationId: 'readyz',
      summary: 'Whether a registration could succeed now',
      description: 'Asks the store and API Gateway; the answer is some seconds old at most.',
      tags: tagged('Health'),
      security: [],
      response: {
        200: {
          description: 'It could.',
          content: { 'application/json': { schema: readySchema, example: { status: 'ready' } } },
        },
        ...problemResponses(...STORE_ERRORS, ...UPSTREAM_ERRORS),
      },
    },
    handler: async () => {
      await readiness.check()
      return { status: 'ready' as const }
    },
  })
}
