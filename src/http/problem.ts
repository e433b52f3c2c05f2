import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { linksOf } from '../discovery/links.ts'
import { type ErrorCode, errorCatalogue } from '../error-catalogue.ts'
import { ServiceError } from '../errors.ts'
import { errorPage } from '../pages/problem.ts'
import { preferredType } from './accept.ts'
import { logError } from './request-log.ts'
import { negotiate, PAGE_HEADERS, sendPage } from './send-page.ts'

/** The HTTP status of every error code. */
export const problemStatus = {
  missing_token: 401,
  invalid_token: 401,
  token_expired: 401,
  token_revoked: 401,
  issuer_not_trusted: 401,
  audience_mismatch: 401,
  token_replayed: 401,
  identity_not_allowed: 403,
  identity_limit_reached: 403,
  already_registered: 409,
  identity_provider_unavailable: 503,
  invalid_client: 401,
  invalid_grant: 400,
  unsupported_grant_type: 400,
  login_failed: 400,
  token_exhausted: 403,
  token_uses_pending: 409,
  plan_not_allowed: 403,
  name_not_allowed: 403,
  invalid_request: 400,
  invalid_idempotency_key: 400,
  idempotency_in_progress: 409,
  idempotency_mismatch: 422,
  registration_ended: 409,
  registration_suspended: 403,
  key_replaced: 409,
  rotation_in_progress: 409,
  not_found: 404,
  method_not_allowed: 405,
  payload_too_large: 413,
  uri_too_long: 414,
  headers_too_large: 431,
  request_timeout: 408,
  unsupported_media_type: 415,
  rate_limited: 429,
  upstream_throttled: 503,
  upstream_unavailable: 503,
  overloaded: 503,
  store_unavailable: 503,
  shutting_down: 503,
  upstream_misconfigured: 502,
  upstream_unsupported: 501,
  key_quota_reached: 503,
  internal: 500,
} as const satisfies Record<ErrorCode, number>

/** The seconds until a retry where the error does not say them. */
const RETRY_S = 5

export const PROBLEM_TYPE = 'application/problem+json'

/** The member of the body of every 401, in all dialects. */
export const resourceMetadata = z
  .string()
  .optional()
  .describe(
    'With status 401: the URL of a document about the required credentials (RFC 9728). The `WWW-Authenticate` and `Link` ' +
      'headers have it too, but gateways rename or drop headers',
  )

/** The body of an error: problem details (RFC 9457) with additional members. */
export const problemSchema = z
  .object({
    type: z.string().describe('The URL of a page that explains the code'),
    title: z.string().describe('A summary of the error, the same for every occurrence of the code'),
    status: z.int().describe('The HTTP status'),
    detail: z.string().describe('A description of this occurrence of the error'),
    instance: z.string().describe('The request id, as in the X-Request-Id header and the log of the service'),
    code: z.string().describe('The error code. It is stable: base decisions on it'),
    retryable: z.boolean().describe('`true` if the same request may succeed later without changes'),
    retry_after: z.number().optional().describe('Seconds to wait, as in the Retry-After header'),
    errors: z
      .array(
        z.object({
          path: z.string().describe('A JSON Pointer (RFC 6901) to the invalid part of the body or the query'),
          message: z.string().describe('A description of the error there'),
        }),
      )
      .optional()
      .describe('Every invalid part of the request'),
    next_step: z.string().describe('Advice on what to do next'),
    resource_metadata: resourceMetadata,
  })
  .meta({ id: 'Problem' })

export type Problem = z.infer<typeof problemSchema>

/** Returns the problem document of an error. `instance` is the request id. */
export function toProblem(error: ServiceError, instance: string, publicUrl: string): Problem {
  const { title, retryable } = errorCatalogue[error.code]
  const retryAfter = retryAfterOf(error)
  return {
    type: linksOf(publicUrl).problem(error.code),
    title,
    status: problemStatus[error.code],
    detail: error.message,
    instance,
    code: error.code,
    retryable,
    ...(retryAfter === undefined ? {} : { retry_after: retryAfter }),
    ...(error.errors === undefined ? {} : { errors: [...error.errors] }),
    next_step: error.nextStep,
    ...metadataOf(error, publicUrl),
  }
}

/** Returns {@link resourceMetadata} of an error, if its status is 401 for want of a token. */
export function metadataOf(
  { code }: ServiceError,
  publicUrl: string,
  status: number = problemStatus[code],
): { resource_metadata?: string } {
  return status === 401 && code !== 'invalid_client' ? { resource_metadata: linksOf(publicUrl).resource } : {}
}

/**
 * Responds to every error and every unknown path with a problem document, except where a plugin sets an error handler
 * of its own.
 */
export function answerProblems(app: FastifyInstance, publicUrl: string): void {
  app.setErrorHandler((error: FastifyError | Error, request, reply) => {
    const mapped = toServiceError(error)
    logError(request, reply, mapped, problemStatus[mapped.code], error)
    return sendProblem(reply, request, mapped, publicUrl)
  })
  app.setNotFoundHandler((_request, _reply) => {
    throw new ServiceError('not_found', 'This path does not exist.')
  })
}

/** Sends the problem document of an error, with its status and headers. */
export function sendProblem(
  reply: FastifyReply,
  request: FastifyRequest,
  error: ServiceError,
  publicUrl: string,
): FastifyReply {
  return sendError(reply, request, error, publicUrl, {
    type: PROBLEM_TYPE,
    body: toProblem(error, request.id, publicUrl),
  })
}

/** The form of an error in its dialect. */
export interface ErrorForm {
  readonly type: string
  readonly body: object
  /** The status, where it is not that of the code. */
  readonly status?: number
  /** The content type that a body must have, where it is not JSON. */
  readonly accepts?: string
}

/** Sends an error, with its status and headers: as a page if the request prefers HTML, otherwise as it is in its dialect. */
export function sendError(
  reply: FastifyReply,
  request: FastifyRequest,
  error: ServiceError,
  publicUrl: string,
  { type, body, status = problemStatus[error.code], accepts = 'application/json' }: ErrorForm,
): FastifyReply {
  answerHeaders(reply, error, publicUrl, status, accepts)
  reply.code(status)
  if (negotiate(request, reply, ['application/json', type, 'text/html']) !== 'text/html')
    return reply.type(type).send(body)
  const problem = { ...toProblem(error, request.id, publicUrl), status }
  return sendPage(reply, errorPage({ problem, basePath: linksOf(publicUrl).basePath }))
}

/**
 * Returns an error in the form that a response has which Fastify does not send: the problem document, and the body with the
 * headers that describe it.
 */
export function rawError(
  error: ServiceError,
  instance: string,
  publicUrl: string,
  accept: string | undefined,
): { problem: Problem; headers: Record<string, string>; body: string } {
  const problem = toProblem(error, instance, publicUrl)
  if (preferredType(accept, ['application/json', PROBLEM_TYPE, 'text/html']) === 'text/html')
    return {
      problem,
      headers: PAGE_HEADERS,
      body: errorPage({ problem, basePath: linksOf(publicUrl).basePath }),
    }
  return { problem, headers: { 'content-type': PROBLEM_TYPE }, body: JSON.stringify(problem) }
}

/** Sets the headers that an error has in every dialect: `WWW-Authenticate` and `Link` for status 401, and `Retry-After`. */
function answerHeaders(
  reply: FastifyReply,
  error: ServiceError,
  publicUrl: string,
  status: number,
  accepts: string,
): void {
  // RFC 6749, section 5.2.
  if (error.code === 'invalid_client') reply.header('www-authenticate', 'Basic realm="firstkey"')
  const { resource_metadata: metadata } = metadataOf(error, publicUrl, status)
  if (metadata !== undefined) {
    reply.headers({
      'www-authenticate': challenge(error, metadata),
      link: `<${metadata}>; rel="service-meta"; type="application/json"`,
    })
  }
  // A 415 names the supported type and codings (RFC 9110, section 15.5.16).
  if (error.code === 'unsupported_media_type')
    reply.headers({ accept: accepts, 'accept-encoding': 'identity' })
  const retryAfter = retryAfterOf(error)
  if (retryAfter !== undefined) reply.header('retry-after', retryAfter)
}

/** Returns the whole seconds until a retry, at least 1 (RFC 9110, section 10.2.3); `undefined` if it cannot succeed. */
function retryAfterOf({ isRetryable, retryAfter = RETRY_S }: ServiceError): number | undefined {
  return isRetryable ? Math.max(1, Math.ceil(retryAfter)) : undefined
}

/**
 * Returns the challenge of a 401: with the URL of the resource metadata (RFC 9728, section 5.1), and without an error
 * code if the request had no credentials (RFC 6750, section 3).
 */
function challenge({ code }: ServiceError, metadata: string): string {
  const realm = `Bearer realm="firstkey", resource_metadata="${metadata}"`
  if (code === 'missing_token') return realm
  return `${realm}, error="invalid_token", error_description="${errorCatalogue[code].title}"`
}

/** Maps any error of a request to a ServiceError. */
export function toServiceError(error: FastifyError | Error): ServiceError {
  if (error instanceof ServiceError) return error
  if (hasZodFastifySchemaValidationErrors(error)) return mapValidation(error)
  const code = 'code' in error ? error.code : undefined
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ServiceError('payload_too_large', 'The body is larger than 16 KiB.')
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return bodyError('is not valid JSON, or has a member named __proto__ or constructor')
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new ServiceError('not_found', 'This path does not exist.')
  }
  const status = 'statusCode' in error ? error.statusCode : undefined
  // Fastify rejects other requests before a handler runs, too: a wrong Content-Length, a truncated body.
  if (status !== undefined && status >= 400 && status < 500) return bodyError('could not be read')
  return new ServiceError('internal', 'An unexpected error occurred.', { cause: error })
}

function bodyError(message: string): ServiceError {
  return new ServiceError('invalid_request', `The body ${message}.`, { errors: [{ path: '', message }] })
}

function mapValidation({
  validation,
  validationContext,
}: Pick<FastifyError, 'validation' | 'validationContext'>): ServiceError {
  const [whole, parts] = validationContext === 'querystring' ? ['query', 'parameters'] : ['body', 'fields']
  // The JSON Pointer of the whole body is "" (RFC 6901); the validator reports "/".
  const errors = (validation ?? []).map(({ keyword, instancePath, params, message = 'is not valid' }) => ({
    path: instancePath === '/' ? '' : instancePath,
    message: keyword === 'unrecognized_keys' ? `has unknown ${parts}: ${quoted(params['keys'])}` : message,
  }))
  const detail = errors
    .map(({ path, message }) => `${path === '' ? whole : path.slice(1)}: ${message}`)
    .join('; ')
  return new ServiceError('invalid_request', `${detail}.`, { errors })
}

function quoted(names: unknown): string {
  return Array.isArray(names) ? names.map((name) => JSON.stringify(name)).join(', ') : ''
}
