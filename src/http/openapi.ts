import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod'
import type { OpenAPIV3_1 } from 'openapi-types'
import { z } from 'zod'
import pkg from '../../package.json' with { type: 'json' }
import { linksOf } from '../discovery/links.ts'
import { referenceText } from '../discovery/reference.ts'
import { oauthDialect } from './oauth-error.ts'
import { errorExamples } from './openapi-errors.ts'
import { problemStatus } from './problem.ts'
import { headersOf, responseHeaders } from './response-headers.ts'
import { tidyDocument } from './tidy-openapi.ts'
import { tokenDialect } from './token-error.ts'

/** The groups of routes in the OpenAPI document, with their descriptions. */
const TAGS = {
  Register: 'Get an API key with a bootstrap token or an identity token.',
  Manage: 'View, rotate and revoke a registration with its management token.',
  'OAuth clients':
    'The same registrations for clients that support only OAuth dynamic client registration (RFC 7591, RFC 7592). ' +
    'The client secret is an API key. The authorization endpoint and the token endpoint, if the service has them, give a ' +
    'bootstrap token for one registration.',
  Discovery: 'Descriptions of this service for programs, language models and people.',
  Health: 'Health checks for monitoring. The rate limits do not count them.',
}

/** Returns the `tags` of a route's schema. */
export function tagged(tag: keyof typeof TAGS): readonly string[] {
  return [tag]
}

/** The part that the schemas of all discovery routes share: their tag, and that they need no credentials. */
export const OPEN = { tags: tagged('Discovery'), security: [] }

/**
 * Drops the pattern of a value that has a format, such as a time: the format says the same, and generated code that turns
 * the value into a date or time cannot apply a pattern to it.
 */
const asJsonSchema: Parameters<typeof createJsonSchemaTransform>[0] = {
  zodToJsonConfig: {
    override: ({ jsonSchema }) => {
      if (jsonSchema.format !== undefined) delete jsonSchema.pattern
    },
  },
}
const transformSchemas = createJsonSchemaTransform(asJsonSchema)
const transformComponents = createJsonSchemaTransformObject(asJsonSchema)

/** Collects the schemas of all routes added afterwards into one OpenAPI 3.1 document, which `app.swagger()` returns. */
export async function describeApi(app: FastifyInstance, publicUrl: string): Promise<void> {
  const links = linksOf(publicUrl)
  await app.register(swagger, {
    stripBasePath: false, // The routes do not include the path of PUBLIC_URL.
    openapi: {
      openapi: '3.1.0',
      info: {
        title: pkg.name,
        version: pkg.version,
        summary: 'Turns a bootstrap token into an AWS API Gateway API key on a usage plan.',
        description: referenceText(publicUrl, problemStatus),
        license: { name: 'MIT', identifier: 'MIT' },
      },
      externalDocs: { url: links.llms, description: 'The guide, on one page' },
      servers: [{ url: publicUrl, description: 'This deployment' }],
      tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
      components: {
        headers: responseHeaders,
        examples: errorExamples([oauthDialect, tokenDialect], publicUrl),
        securitySchemes: {
          bootstrapToken: {
            type: 'http',
            scheme: 'bearer',
            description: 'A bootstrap token (`fkb_…`), which the operator or the token endpoint issues.',
          },
          identityToken: {
            type: 'http',
            scheme: 'bearer',
            bearerFormat: 'JWT',
            description:
              'A JWT of an issuer that the operator trusts, for the audience that `/llms.txt` names. It needs an ' +
              '`Idempotency-Key` that is a UUID of version 4.',
          },
          managementToken: {
            type: 'http',
            scheme: 'bearer',
            description:
              'The management token (`fkm_…`) of one registration, which the response to the registration contains.',
          },
        },
      },
    },
    transform(document) {
      const { schema, url } = transformSchemas(document)
      const isCounted = document.route.config?.rateLimit !== false
      return {
        schema: { ...schema, response: completed(schema.response, document.schema?.response, isCounted) },
        url,
      }
    },
    transformObject(document) {
      const result = transformComponents(document)
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
 * Adds to every response the headers and examples that its route declares, and the headers that all responses have: the
 * transform keeps only schemas.
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
            // A request that times out (408) has not been counted.
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

/** Returns the document that {@link describeApi} collected. Call it when the app is ready. */
export function openapiOf(app: FastifyInstance): OpenAPIV3_1.Document {
  const document = app.swagger()
  if (!isOpenapi31(document)) throw new Error('the document is not OpenAPI 3.1')
  return document
}

function isOpenapi31(document: object): document is OpenAPIV3_1.Document {
  return 'openapi' in document && String(document.openapi).startsWith('3.1')
}
