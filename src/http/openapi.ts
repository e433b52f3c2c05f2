import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'

/** Collects the schemas of every route added after it into one OpenAPI 3.1 document: `app.swagger()`. */
export async function describeApi(app: FastifyInstance, publicUrl: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'firstkey',
        version: '0.1.0',
        description:
          'Self-service registration for APIs behind AWS API Gateway: ' +
          'a bootstrap token in, an API key on a usage plan out.',
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: publicUrl }],
      components: {
        securitySchemes: {
          bootstrapToken: { type: 'http', scheme: 'bearer', description: 'A bootstrap token: fkb_…' },
          managementToken: {
            type: 'http',
            scheme: 'bearer',
            description: 'The management token of a registration: fkm_…',
          },
        },
      },
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => {
      const result = jsonSchemaTransformObject(document)
      // The transform makes a variant for requests of every shared schema; none is used there.
      const schemas = 'components' in result ? (result.components?.schemas ?? {}) : {}
      for (const name of Object.keys(schemas)) if (name.endsWith('Input')) delete schemas[name]
      return result
    },
  })
}
