import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { type ErrorCode, errorCatalogue, ServiceError } from '../errors.ts'
import { problemResponses, problemStatus } from '../http/problem.ts'

const problemPage = z.object({
  code: z.string(),
  status: z.int(),
  title: z.string(),
  retryable: z.boolean(),
  next_step: z.string(),
})

/** What the service says of itself: `/openapi.json`, and a page for every `type` of a problem document. */
export const documentRoutes: FastifyPluginAsyncZod = async (app) => {
  app.route({
    method: 'GET',
    url: '/openapi.json',
    schema: {
      operationId: 'openapi',
      summary: 'This API as an OpenAPI 3.1 document',
      response: { 200: z.looseObject({}), ...problemResponses('rate_limited', 'internal', 'shutting_down') },
    },
    handler: async () => ({ ...app.swagger() }),
  })
  app.route({
    method: 'GET',
    url: '/problems/:code',
    schema: {
      operationId: 'problem',
      summary: 'What an error code means and what to do about it',
      params: z.object({ code: z.string() }),
      response: {
        200: problemPage,
        ...problemResponses('not_found', 'rate_limited', 'internal', 'shutting_down'),
      },
    },
    handler: async ({ params: { code } }) => {
      if (!isErrorCode(code)) throw new ServiceError('not_found', 'There is no such error code.')
      const { title, retryable, nextStep } = errorCatalogue[code]
      return { code, status: problemStatus[code], title, retryable, next_step: nextStep }
    },
  })
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCatalogue, code)
}
