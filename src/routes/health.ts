import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { problemResponses } from '../http/problem.ts'
import type { Readiness } from '../registration/readiness.ts'

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
      response: {
        200: z.object({ status: z.literal('live') }),
        ...problemResponses('shutting_down', 'internal'),
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
      response: {
        200: z.object({ status: z.literal('ready') }),
        ...problemResponses(
          'internal',
          'store_unavailable',
          'upstream_misconfigured',
          'upstream_throttled',
          'upstream_unavailable',
          'shutting_down',
        ),
      },
    },
    handler: async () => {
      await readiness.check()
      return { status: 'ready' as const }
    },
  })
}
