import { STATUS_CODES } from 'node:http'
import type { z } from 'zod'
import { type ErrorCode, errorCatalogue, ServiceError } from '../errors.ts'
import { PROBLEM_TYPE, problemSchema, problemStatus, toProblem } from './problem.ts'
import { headersOf } from './response-headers.ts'

/**
 * What any route can answer, before its own work begins or instead of it: no Host, bad JSON, a request that comes too
 * slowly, too large a body or headers, a compressed or foreign body, a fault, a server that stops.
 */
const ANY_ROUTE: readonly ErrorCode[] = [
  ...(['invalid_request', 'request_timeout', 'payload_too_large', 'unsupported_media_type'] as const),
  ...(['internal', 'shutting_down'] as const),
]
/** Where the store is asked. It throttles as API Gateway does, if it is DynamoDB. */
export const STORE_ERRORS = ['store_unavailable', 'upstream_throttled'] as const
/** Where API Gateway is asked. */
export const UPSTREAM_ERRORS = [
  'upstream_misconfigured',
  'upstream_throttled',
  'upstream_unavailable',
] as const

/** How errors are told on some routes. */
export interface Dialect {
  /** The id of {@link schema}. */
  readonly name: string
  readonly mediaType: string
  readonly schema: z.ZodType
  /** The body of an error. `instance` is the request id. */
  toBody(error: ServiceError, instance: string, publicUrl: string): unknown
  /** A field of the bodies there, for the example of a fault in one. */
  readonly field: string
  /** What the routes answer in the place of some code. */
  readonly instead: Partial<Record<ErrorCode, ErrorCode>>
}

const problems: Dialect = {
  name: 'Problem',
  mediaType: PROBLEM_TYPE,
  schema: problemSchema,
  toBody: toProblem,
  field: 'name',
  instead: {},
}

/** The `responses` of a route for these codes and those of any route, for its schema. */
export function problemResponses(...codes: ErrorCode[]) {
  return responsesOf(problems, codes)
}

/** As {@link problemResponses}, in another dialect. */
export function responsesOf(dialect: Dialect, codes: readonly ErrorCode[]) {
  const all = new Set([...ANY_ROUTE, ...codes].map((code) => dialect.instead[code] ?? code))
  const byStatus = Map.groupBy(
    codesInOrder.filter((code) => all.has(code)),
    (code) => problemStatus[code],
  )
  return Object.fromEntries(
    [...byStatus].map(([status, group]) => [
      status,
      {
        description: `${STATUS_CODES[status]}: ${group.map((code) => `\`${code}\``).join(', ')}`,
        headers: headersOf(
          ...(status === 401 ? (['WWW-Authenticate'] as const) : []),
          ...(group.some((code) => errorCatalogue[code].retryable) ? (['Retry-After'] as const) : []),
        ),
        content: contentOf(group, dialect),
      },
    ]),
  )
}

const codesInOrder = Object.keys(errorCatalogue) as ErrorCode[]

function contentOf(codes: readonly ErrorCode[], dialect: Dialect) {
  const told = codes.flatMap((code) => dialectsOf(code, dialect).map((dialect) => ({ code, dialect })))
  const byDialect = Map.groupBy(told, ({ dialect }) => dialect)
  return Object.fromEntries(
    [...byDialect].map(([{ mediaType, schema, name }, group]) => [
      mediaType,
      {
        schema,
        examples: Object.fromEntries(
          group.map(({ code }) => [code, { $ref: `#/components/examples/${name}.${code}` }]),
        ),
      },
    ]),
  )
}

/** What never becomes a request has no route whose dialect it could be told in. */
function dialectsOf(code: ErrorCode, dialect: Dialect): Dialect[] {
  if (code === 'request_timeout') return [problems]
  return code === 'payload_too_large' ? [...new Set([dialect, problems])] : [dialect]
}

/** An example of every error, for the document: its `components.examples`. */
export function errorExamples(dialects: readonly Dialect[], publicUrl: string) {
  return Object.fromEntries(
    [problems, ...dialects].flatMap(({ name, toBody, field }) =>
      codesInOrder.map((code) => [
        `${name}.${code}`,
        {
          summary: errorCatalogue[code].title,
          value: toBody(exampleOf(code, field), 'req_0123456789abcdefghij', publicUrl),
        },
      ]),
    ),
  )
}

function exampleOf(code: ErrorCode, field: string): ServiceError {
  const { title, retryable } = errorCatalogue[code]
  if (code === 'invalid_request') {
    const errors = [{ path: `/${field}`, message: 'is required' }]
    return new ServiceError(code, `${field}: is required.`, { errors })
  }
  return new ServiceError(code, `${title}.`, retryable ? { retryAfter: 5 } : {})
}
