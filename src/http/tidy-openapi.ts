import type { OpenAPIV3, OpenAPIV3_1 } from 'openapi-types'

type ApiDocument = Partial<OpenAPIV3.Document | OpenAPIV3_1.Document>
type Responses = Record<string, OpenAPIV3.ReferenceObject | OpenAPIV3.ResponseObject>

interface Operation {
  readonly operationId: string
  readonly responses: Responses
  readonly requestBody?: OpenAPIV3.ReferenceObject | OpenAPIV3.RequestBodyObject
}

/**
 * Corrects what the transforms of the plugins cannot express, moves identical responses into components, and removes
 * components that nothing refers to.
 */
export function tidyDocument(document: ApiDocument): void {
  const operations = operationsOf(document)
  for (const operation of operations) {
    unwrapHeaders(operation)
    letBodyBeAbsent(operation)
  }
  Object.assign(document.components ?? {}, { responses: shareResponses(operations) })
  dropUnused(document)
}

function operationsOf({ paths = {} }: ApiDocument): Operation[] {
  return Object.values(paths).flatMap((path) =>
    [path?.get, path?.post, path?.delete].flatMap((operation) => {
      if (operation?.operationId === undefined || operation.responses === undefined) return []
      const { operationId, responses, requestBody } = operation
      return [{ operationId, responses, ...(requestBody === undefined ? {} : { requestBody }) }]
    }),
  )
}

/** Turns a header whose schema is a reference into the reference itself: the transform wraps it in a schema. */
function unwrapHeaders({ responses }: Operation): void {
  for (const response of Object.values(responses)) {
    if ('$ref' in response || response.headers === undefined) continue
    for (const [name, header] of Object.entries(response.headers)) {
      if ('schema' in header && header.schema && '$ref' in header.schema)
        response.headers[name] = header.schema
    }
  }
}

/**
 * Marks a body as optional if its schema has a default: the transform marks every body as required. Removes the default, because
 * generators of clients refuse one of an object.
 */
function letBodyBeAbsent({ requestBody }: Operation): void {
  if (requestBody === undefined || '$ref' in requestBody) return
  for (const { schema } of Object.values(requestBody.content)) {
    if (schema === undefined || !('default' in schema)) continue
    requestBody.required = false
    delete schema.default
  }
}

/**
 * Replaces responses that several operations share with references.
 * @returns the shared responses, each named after the first operation that has it
 */
function shareResponses(operations: readonly Operation[]): Responses {
  const uses = operations.flatMap((operation) =>
    Object.entries(operation.responses).map(([status, response]) => ({ operation, status, response })),
  )
  const alike = Map.groupBy(uses, ({ status, response }) => JSON.stringify([status, response]))
  const shared: Responses = {}
  for (const group of alike.values()) {
    const [first] = group
    if (first === undefined || group.length === 1) continue
    const name = `${first.operation.operationId}.${first.status}`
    shared[name] = first.response
    for (const { operation, status } of group)
      operation.responses[status] = { $ref: `#/components/responses/${name}` }
  }
  return shared
}

/** Removes examples of errors that no operation returns, and the request variants of shared schemas. */
function dropUnused(document: ApiDocument): void {
  const { schemas = {}, examples = {} } = document.components ?? {}
  for (const name of Object.keys(schemas)) if (name.endsWith('Input')) delete schemas[name]
  const text = JSON.stringify(document)
  for (const name of Object.keys(examples))
    if (!text.includes(`"#/components/examples/${name}"`)) delete examples[name]
}
