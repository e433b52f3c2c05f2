import { STATUS_CODES } from 'node:http'
import type { z } from 'zod'
import { type ErrorCode, errorCatalogue } from '../error-catalogue.ts'
import { ServiceError } from '../errors.ts'
import { PROBLEM_TYPE, problemSchema, problemStatus, toProblem } from './problem.ts'
import { headersOf } from './response-headers.ts'
import { pageContent } from './send-page.ts'

/**
 * The codes that any route can return before or instead of its own work: a missing Host header, invalid JSON, a request
 * that arrives too slowly, a body, a URL or headers that are too large, a compressed body or one of another content type,
 * an unexpected failure, a server that is shutting down.
 */
const ANY_ROUTE: readonly ErrorCode[] = [
  ...(['invalid_request', 'request_timeout', 'payload_too_large', 'uri_too_long'] as const),
  ...(['headers_too_large', 'unsupported_media_type', 'internal', 'shutting_down'] as const),
]
/** The codes of routes that use the store. DynamoDB throttles, as API Gateway does. */
export const STORE_ERRORS = ['store_unavailable', 'upstream_throttled'] as const
/** The codes of routes that call API Gateway. */
export const UPSTREAM_ERRORS = [
  'upstream_misconfigured',
  'upstream_throttled',
  'upstream_unavailable',
] as const

/** The format of errors on a set of routes. */
export interface Dialect {
  /** The id of {@link schema}. */
  readonly name: string
  readonly mediaType: string
  readonly schema: z.ZodType
  /** Returns the body of an error. `instance` is the request id. */
  toBody(error: ServiceError, instance: string, publicUrl: string): unknown
  /** A field of the request bodies on these routes, for the example of `invalid_request`. */
  readonly field: string
  /** The codes that these routes replace, with their replacements. */
  readonly instead: Partial<Record<ErrorCode, ErrorCode>>
  /** Returns the status of a code on these routes. */
  statusOf(code: ErrorCode): number
}

const problems: Dialect = {
  name: 'Problem',
  mediaType: PROBLEM_TYPE,
  schema: problemSchema,
  toBody: toProblem,
  field: 'name',
  instead: {},
  statusOf: (code) => problemStatus[code],
}

/** Returns the `responses` of a route's schema for these codes and for the codes that any route can return. */
export function problemResponses(...codes: ErrorCode[]) {
  return responsesOf(problems, codes)
}

/** Returns the same as {@link problemResponses}, in another dialect. */
export function responsesOf(dialect: Dialect, codes: readonly ErrorCode[]) {
  const all = new Set([...ANY_ROUTE, ...codes].map((code) => dialect.instead[code] ?? code))
  const byStatus = Map.groupBy(
    codesInOrder.filter((code) => all.has(code)),
    dialect.statusOf,
  )
  return Object.fromEntries(
    [...byStatus].map(([status, group]) => [
      status,
      {
        description: `${STATUS_CODES[status]}: ${group.map((code) => `\`${code}\``).join(', ')}`,
        headers: headersOf(
          'Vary',
          ...(status === 401 ? (['WWW-Authenticate'] as const) : []),
          ...(status === 401 && !group.includes('invalid_client') ? (['Link'] as const) : []),
          ...(status === 415 ? (['Accept', 'Accept-Encoding'] as const) : []),
          ...(group.some((code) => errorCatalogue[code].retryable) ? (['Retry-After'] as const) : []),
        ),
        content: { ...contentOf(group, dialect), ...pageContent },
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

/**
 * Returns the dialects that a code can have on a route. What Node.js rejects before the request reaches a route gets a
 * problem document: a request that is late, a URL that is too long, and headers, unless they are too many.
 */
function dialectsOf(code: ErrorCode, dialect: Dialect): Dialect[] {
  if (code === 'request_timeout' || code === 'uri_too_long') return [problems]
  return code === 'headers_too_large' ? [...new Set([dialect, problems])] : [dialect]
}

/** Returns an example of every error, for `components.examples` of the OpenAPI document. */
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
