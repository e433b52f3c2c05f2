import { type ApiPatch, heading } from './patch.ts'
import { yamlDocument } from './yaml-document.ts'

/** Returns an OpenAPI document in which the methods require a key. */
export function openApiPatch(patch: ApiPatch): string {
  const byPath = Map.groupBy(patch.methods, ({ path }) => path)
  const paths = [...byPath].map(([path, methods]) => {
    const parameters = [...path.matchAll(/\{([^{}+]+)\+?\}/g)].map(([, name = '']) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string' },
    }))
    const operations = methods.map(({ httpMethod }) => [
      httpMethod === 'ANY' ? 'x-amazon-apigateway-any-method' : httpMethod.toLowerCase(),
      {
        ...(parameters.length === 0 ? {} : { parameters }),
        security: [{ api_key: [] }],
        responses: { default: { description: 'As in your document' } },
      },
    ])
    return [path, Object.fromEntries(operations)]
  })
  const comment = [
    heading(patch),
    'Merge it into the document of the API, whose operations keep their integrations:',
    '- security belongs to each operation: API Gateway does not use the one of the whole document.',
    '- x-amazon-apigateway-api-key-source belongs to the document.',
    'Then import it and deploy the stage. OpenAPI has no usage plans: firstkey setup makes them, or --print cloudformation|terraform.',
  ]
  return yamlDocument(comment, {
    openapi: '3.0.3',
    info: { title: patch.api.name, version: '1' },
    'x-amazon-apigateway-api-key-source': 'HEADER',
    paths: Object.fromEntries(paths),
    components: { securitySchemes: { api_key: { type: 'apiKey', name: 'x-api-key', in: 'header' } } },
  })
}
