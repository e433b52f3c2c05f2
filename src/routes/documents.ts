import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Config } from '../config.ts'
import { linksOf } from '../discovery/links.ts'
import { type ErrorCode, errorCatalogue } from '../error-catalogue.ts'
import { ServiceError } from '../errors.ts'
import { OPEN } from '../http/openapi.ts'
import { problemResponses } from '../http/openapi-errors.ts'
import { problemStatus } from '../http/problem.ts'
import { headersOf } from '../http/response-headers.ts'
import { negotiate, pageContent, sendPage } from '../http/send-page.ts'
import { problemPage } from '../pages/problem.ts'

const problemSchema = z.object({
  code: z.string().describe('The error code'),
  status: z.int().describe('The HTTP status of errors with this code'),
  title: z.string().describe('The meaning of the code'),
  retryable: z.boolean().describe('`true` if the same request may succeed later without changes'),
  next_step: z.string().describe('Advice on what to do next'),
})

const problemExample = explain('token_expired')

/** `/openapi.json`, and a page for every `type` of a problem document. */
export const documentRoutes: FastifyPluginAsyncZod<{ config: Pick<Config, 'publicUrl'> }> = async (
  app,
  { config },
) => {
  const { basePath } = linksOf(config.publicUrl)
  app.route({
    method: 'GET',
    url: '/openapi.json',
    schema: {
      operationId: 'openapi',
      summary: 'OpenAPI 3.1 document of this API',
      description: 'Generated from the schemas that validate the requests.',
      ...OPEN,
      response: {
        200: {
          description: 'The document.',
          content: {
            'application/json': {
              schema: z.looseObject({}),
              example: { openapi: '3.1.0', info: { title: 'firstkey' }, paths: {} },
            },
          },
        },
        ...problemResponses('rate_limited'),
      },
    },
    handler: async () => ({ ...app.swagger() }),
  })
  app.route({
    method: 'GET',
    url: '/problems/:code',
    schema: {
      operationId: 'problem',
      summary: 'Explanation of an error code',
      description:
        'The `type` of a problem document and the `error_uri` of an OAuth error refer to this page.',
      ...OPEN,
      params: z.object({
        code: z
          .string()
          .describe('The `code` of an error')
          .meta({ examples: ['token_expired'] }),
      }),
      response: {
        200: {
          description: 'The explanation, as JSON or, if the request prefers it, as an HTML page.',
          headers: headersOf('Vary'),
          content: {
            'application/json': { schema: problemSchema, example: problemExample },
            ...pageContent,
          },
        },
        ...problemResponses('not_found', 'rate_limited'),
      },
    },
    handler: async (request, reply) => {
      const { code } = request.params
      if (!isErrorCode(code)) throw new ServiceError('not_found', 'There is no such error code.')
      const problem = explain(code)
      if (negotiate(request, reply, ['application/json', 'text/html']) !== 'text/html') return problem
      return sendPage(reply, problemPage({ ...problem, basePath }))
    },
  })
}

function explain(code: ErrorCode): z.infer<typeof problemSchema> {
  const { title, retryable, nextStep } = errorCatalogue[code]
  return { code, status: problemStatus[code], title, retryable, next_step: nextStep }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCatalogue, code)
}
