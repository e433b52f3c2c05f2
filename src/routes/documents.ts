import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { type ErrorCode, errorCatalogue, ServiceError } from '../errors.ts'
import { problemResponses } from '../http/error-responses.ts'
import { tagged } from '../http/openapi.ts'
import { problemStatus } from '../http/problem.ts'
import { headersOf } from '../http/response-headers.ts'

const problemSchema = z.object({
  code: z.string().describe('The code'),
  status: z.int().describe('The HTTP status of its errors'),
  title: z.string().describe('What it means'),
  retryable: z.boolean().describe('Whether the same request may succeed later, unchanged'),
  next_step: z.string().describe('What to do'),
})

const problemExample = problemPage('token_expired')

/** What the service says of itself: `/openapi.json`, and a page for every `type` of a problem document. */
export const documentRoutes: FastifyPluginAsyncZod = async (app) => {
  app.route({
    method: 'GET',
    url: '/openapi.json',
    schema: {
      operationId: 'openapi',
      summary: 'This API as an OpenAPI 3.1 document',
      description: 'Generated from the schemas that validate.',
      tags: tagged('Discovery'),
      security: [],
      response: {
        200: {
          description: 'The document',
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
      summary: 'What an error code means and what to do about it',
      description: 'Where the "type" of a problem, and the "error_uri" of an OAuth error, points.',
      tags: tagged('Discovery'),
      security: [],
      params: z.object({
        code: z
          .string()
          .describe('The "code" of an error')
          .meta({ examples: ['token_expired'] }),
      }),
      response: {
        200: {
          description: 'The same as a page where HTML is asked for.',
          headers: headersOf('Vary'),
          content: {
            'application/json': { schema: problemSchema, example: problemExample },
            'text/html': { schema: z.string(), example: problemHtml(problemExample) },
          },
        },
        ...problemResponses('not_found', 'rate_limited'),
      },
    },
    handler: async (request, reply) => {
      const { code } = request.params
      if (!isErrorCode(code)) throw new ServiceError('not_found', 'There is no such error code.')
      const problem = problemPage(code)
      reply.header('vary', 'Accept')
      if (request.accepts().type(['application/json', 'text/html']) !== 'text/html') return problem
      return reply
        .header('content-security-policy', "default-src 'none'; frame-ancestors 'none'")
        .type('text/html; charset=utf-8')
        .send(problemHtml(problem))
    },
  })
}

function problemPage(code: ErrorCode): z.infer<typeof problemSchema> {
  const { title, retryable, nextStep } = errorCatalogue[code]
  return { code, status: problemStatus[code], title, retryable, next_step: nextStep }
}

function problemHtml({ code, status, title, retryable, next_step }: z.infer<typeof problemSchema>): string {
  const again = retryable
    ? 'Yes: the same request, unchanged, after the seconds in Retry-After.'
    : 'No: the same request would be refused again.'
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} (${code})</title>
</head>
<body>
<main>
<h1>${title}</h1>
<p>Code <code>${code}</code>, HTTP status ${status}.</p>
<h2>Try again?</h2>
<p>${again}</p>
<h2>What to do</h2>
<p>${escapeHtml(next_step)}</p>
</main>
</body>
</html>
`
}

/** Text of the catalogue as HTML; nothing of a request is in it. */
function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCatalogue, code)
}
