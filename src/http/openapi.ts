import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import type { OpenAPIV3_1 } from 'openapi-types'
import { z } from 'zod'
import pkg from '../../package.json' with { type: 'json' }
import { linksOf } from '../discovery/links.ts'
import { referenceText } from '../discovery/reference.ts'
import { errorExamples } from './error-responses.ts'
import { oauthDialect } from './oauth-error.ts'
import { problemStatus } from './problem.ts'
import { headersOf, responseHeaders } from './response-headers.ts'
import { tidyDocument } from './tidy-document.ts'

/** What the routes are sorted by in the document. */
const TAGS = {
  Register: 'A bootstrap token in, an API key out.',
  Manage: 'A registration in the hands of its owner, by the management token that came with it.',
  'OAuth clients':
    'The same registrations for clients that know OAuth dynamic client registration (RFC 7591, RFC 7592) and ' +
    'nothing else. There is no authorization and no token endpoint: the client secret is an API key.',
  Discovery: 'What the service says of itself, for programs, language models and people.',
  Health: 'For whoever watches the process. Not counted by the rate limits.',
}

/** The `tags` of a route, for its schema. */
export function tagged(tag: keyof typeof TAGS): readonly string[] {
  return [tag]
}

/** What the schema of every route has by which the service tells of itself: anybody may ask. */
export const OPEN = { tags: tagged('Discovery'), security: [] }

/** Collects the schemas of every route added after it into one OpenAPI 3.1 document: `app.swagger()`. */
export async function describeApi(app: FastifyInstance, publicUrl: string): Promise<void> {
  const links = linksOf(publicUrl)
  await app.register(swagger, {
    stripBasePath: false, // No route has the path of PUBLIC_URL in it.
    openapi: {
      openapi: '3.1.0',
      info: {
        title: pkg.name,
        version: pkg.version,
        summary: 'A bootstrap token in, an AWS API Gateway API key on a usage plan out.',
        description: referenceText(publicUrl, problemStatus),
        license: { name: 'MIT', identifier: 'MIT' },
      },
      externalDocs: { url: links.llms, description: 'The guide, on one page' },
      servers: [{ url: publicUrl, description: 'This deployment' }],
      tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
      components: {
        headers: responseHeaders,
        examples: errorExamples([oauthDialect], publicUrl),
        securitySchemes: {
          bootstrapToken: {
            type: 'http',
            scheme: 'bearer',
            description: 'A bootstrap token, `fkb_…`: the operator makes it and hands it out.',
          },
          managementToken: {
            type: 'http',
            scheme: 'bearer',
            description:
              'The management token of one registration, `fkm_…`: the answer of the registration has it.',
          },
        },
      },
    },
    transform(document) {
      const { schema, url } = jsonSchemaTransform(document)
      const isCounted = document.route.config?.rateLimit !== false
      return {
        schema: { ...schema, response: completed(schema.response, document.schema?.response, isCounted) },
        url,
      }
    },
    transformObject(document) {
      const result = jsonSchemaTransformObject(document)
      if (!('openapi' in result)) throw new Error('the document is not OpenAPI 3')
      tidyDocument(result)
      return result
    },
  })
}

const responsesSchema = z.record(
  z.string(),
  z.looseObject({
    headers: z.record(z.string(), z.unknown()).optional(),
    content: z.record(z.string(), z.looseObject({})).optional(),
  }),
)

/**
 * The transform takes only schemas: this gives every response the headers and examples that its route names, and the
 * headers that all have.
 */
function completed(transformed: unknown, declared: unknown, isCounted: boolean) {
  const named = responsesSchema.parse(declared ?? {})
  return Object.fromEntries(
    Object.entries(responsesSchema.parse(transformed ?? {})).map(([status, response]) => {
      const { headers, content } = named[status] ?? {}
      return [
        status,
        {
          ...response,
          headers: {
            ...headersOf('X-Request-Id'),
            // Whose request comes too slowly is not counted yet.
            ...(isCounted && status !== '408' ? headersOf('RateLimit-Policy', 'RateLimit') : {}),
            ...headers,
          },
          ...(content && response.content ? { content: withExamples(response.content, content) } : {}),
        },
      ]
    }),
  )
}

function withExamples(transformed: Record<string, object>, declared: Record<string, object>) {
  return Object.fromEntries(
    Object.entries(transformed).map(([mediaType, media]) => [
      mediaType,
      { ...declared[mediaType], ...media },
    ]),
  )
}

/** The document that {@link describeApi} collected, once the app is ready. */
export function openapiOf(app: FastifyInstance): OpenAPIV3_1.Document {
  const document = app.swagger()
  if (!isOpenapi31(document)) throw new Error('the document is not OpenAPI 3.1')
  return document
}

function isOpenapi31(document: object): document is OpenAPIV3_1.Document {
  return 'openapi' in document && String(document.openapi).startsWith('3.1')
}
