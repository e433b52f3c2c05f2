import type { FastifyInstance } from 'fastify'
import { z } from 'zod'

const responseSchema = z.object({
  headers: z.record(z.string(), z.unknown()),
  content: z
    .record(z.string(), z.object({ examples: z.record(z.string(), z.unknown()).optional() }))
    .default({}),
})
const documentSchema = z.object({
  info: z.object({ description: z.string() }),
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.object({
        operationId: z.string(),
        tags: z.tuple([z.string()]),
        security: z.array(z.unknown()),
        responses: z.record(z.string(), z.union([z.object({ $ref: z.string() }), responseSchema])),
      }),
    ),
  ),
  components: z.object({
    headers: z.record(z.string(), z.unknown()),
    responses: z.record(z.string(), responseSchema),
  }),
})

type DocumentedResponse = z.infer<typeof responseSchema>

/** An operation of the document, with its responses in full. */
export interface DocumentedOperation {
  readonly path: string
  readonly method: string
  readonly tag: string
  readonly isOpen: boolean
  readonly responses: Readonly<Record<string, DocumentedResponse>>
}

/** Reads the operations, the headers and the description of an OpenAPI document. */
export function readDocument(document: unknown) {
  const { paths, components, info } = documentSchema.parse(document)
  const operations: DocumentedOperation[] = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { tags, security, responses }]) => ({
      path,
      method: method.toUpperCase(),
      tag: tags[0],
      isOpen: security.length === 0,
      responses: Object.fromEntries(
        Object.entries(responses).map(([status, response]) => [
          status,
          '$ref' in response ? resolve(response.$ref, components.responses) : response,
        ]),
      ),
    })),
  )
  return { description: info.description, operations, headers: Object.keys(components.headers) }
}

function resolve(reference: string, responses: Record<string, DocumentedResponse>): DocumentedResponse {
  const response = responses[reference.replace('#/components/responses/', '')]
  if (response === undefined) throw new Error(`${reference} does not exist`)
  return response
}

/** Returns the error codes that a response of the document can have. */
export function codesOf({ content }: DocumentedResponse): string[] {
  return Object.values(content).flatMap(({ examples = {} }) => Object.keys(examples))
}

/**
 * Checks every response of a service from now on against its OpenAPI document.
 * @returns the undocumented parts of the responses; the set grows with every response
 */
export function watchResponses(app: FastifyInstance): ReadonlySet<string> {
  const undocumented = new Set<string>()
  let document: ReturnType<typeof readDocument> | undefined
  app.server.prependListener('request', (request, response) => {
    // Fastify passes the headers of a response to writeHead, and the whole body to end.
    let headers: Record<string, unknown> = {}
    let body: unknown
    const { writeHead, end } = response
    response.writeHead = (...args: unknown[]) => {
      headers = headersSchema.parse(args.at(-1))
      return Reflect.apply(writeHead, response, args)
    }
    response.end = (...args: unknown[]) => {
      body = args[0]
      return Reflect.apply(end, response, args)
    }
    response.once('finish', () => {
      document ??= readDocument(app.swagger())
      const { method = '', url = '' } = request
      const operation = operationOf(document.operations, method, url)
      if (operation === undefined) return
      const mediaType = String(headers['content-type'] ?? '').split(';')[0] ?? ''
      const sent = {
        status: String(response.statusCode),
        mediaType,
        code: mediaType === 'text/html' ? undefined : errorCode(response.statusCode, body),
        headers: document.headers.filter((name) => isDocumented(name, headers[name.toLowerCase()])),
      }
      for (const fault of faultsOf(sent, operation))
        undocumented.add(`${method} ${operation.path} ${sent.status}: ${fault}`)
    })
  })
  return undocumented
}

/** The document leaves out what CORS adds to every response: it is off by default. */
function isDocumented(name: string, value: unknown): boolean {
  return value !== undefined && !(name === 'Vary' && value === 'Origin')
}

const headersSchema = z.record(z.string(), z.unknown())

function operationOf(operations: readonly DocumentedOperation[], method: string, url: string) {
  const path = url.split('?')[0] ?? ''
  const candidates = operations.filter(
    (operation) => operation.method === (method === 'HEAD' ? 'GET' : method),
  )
  return (
    candidates.find((operation) => operation.path === path) ??
    candidates.find((operation) => RegExp(`^${operation.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(path))
  )
}

function errorCode(status: number, body: unknown): string | undefined {
  if (status < 400 || typeof body !== 'string' || body === '') return undefined
  return z.object({ code: z.string() }).parse(JSON.parse(body)).code
}

interface Sent {
  readonly status: string
  readonly mediaType: string
  readonly code: string | undefined
  readonly headers: readonly string[]
}

function faultsOf({ status, mediaType, code, headers }: Sent, { responses }: DocumentedOperation): string[] {
  const response = responses[status]
  if (response === undefined) return [`no such response (${code})`]
  const faults = headers
    .filter((name) => !Object.hasOwn(response.headers, name))
    .map((name) => `no header ${name}`)
  const content = response.content[mediaType]
  if (content === undefined && mediaType !== '') faults.push(`no content ${mediaType}`)
  else if (code !== undefined && !Object.hasOwn(content?.examples ?? {}, code))
    faults.push(`no example of ${code}`)
  return faults
}
