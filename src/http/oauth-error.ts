import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { linksOf } from '../discovery/links.ts'
import { type ErrorCode, errorCatalogue } from '../error-catalogue.ts'
import { type FieldError, ServiceError } from '../errors.ts'
import { codePoint } from '../show-value.ts'
import { type Dialect, responsesOf } from './openapi-errors.ts'
import { metadataOf, problemStatus, resourceMetadata, sendError, toServiceError } from './problem.ts'
import { logError } from './request-log.ts'

/** The body of an error in the OAuth dialect (RFC 7591, section 3.2.2; RFC 6750), with additional members. */
export const oauthErrorSchema = z
  .object({
    error: z
      .string()
      .describe('The error name of RFC 7591 or RFC 6750 if there is one, otherwise the `code`'),
    error_description: z.string().describe('A description of this occurrence of the error, in ASCII'),
    code: z.string().describe('The error code that all other routes use. It is stable: base decisions on it'),
    retryable: z.boolean().describe('`true` if the same request may succeed later without changes'),
    next_step: z.string().describe('Advice on what to do next'),
    error_uri: z.string().describe('The URL of a page that explains the code'),
    instance: z.string().describe('The request id'),
    errors: z
      .array(
        z.object({
          path: z.string().describe('A JSON Pointer (RFC 6901) to the invalid part of the body'),
          message: z.string().describe('A description of the error there'),
        }),
      )
      .optional()
      .describe('Every invalid part of the request'),
    resource_metadata: resourceMetadata,
  })
  .meta({ id: 'OAuthError' })

/** The error names that the RFCs define; `not_found` is at the token endpoint, which supports no grant (RFC 6749, section 5.2). For all other errors the code is the name. */
const NAMES: Partial<Record<ErrorCode, string>> = {
  invalid_request: 'invalid_client_metadata',
  name_not_allowed: 'invalid_client_metadata',
  plan_not_allowed: 'invalid_client_metadata',
  missing_token: 'invalid_token',
  token_expired: 'invalid_token',
  token_revoked: 'invalid_token',
  issuer_not_trusted: 'invalid_token',
  audience_mismatch: 'invalid_token',
  token_replayed: 'invalid_token',
  not_found: 'unsupported_grant_type',
}

/** Matches the characters that `error_description` must not contain (RFC 6749, section 5.2). */
const NOT_PRINTABLE = /[^\x20-\x21\x23-\x5b\x5d-\x7e]/gu

/** Sends the errors of a plugin's routes in the OAuth dialect. */
export function answerOauthErrors(app: FastifyInstance, publicUrl: string): void {
  app.setErrorHandler((error: Error, request, reply) =>
    sendOauthError(reply, request, asClientError(toServiceError(error)), publicUrl, error),
  )
}

/** Sends and logs an error in the OAuth dialect. @param thrown the error as it was thrown */
export function sendOauthError(
  reply: FastifyReply,
  request: FastifyRequest,
  error: ServiceError,
  publicUrl: string,
  thrown: Error,
): FastifyReply {
  logError(request, reply, error, problemStatus[error.code], thrown)
  const body = toOauthError(error, request.id, publicUrl)
  return sendError(reply, request, error, publicUrl, { type: 'application/json', body })
}

/** Maps `not_found` to `invalid_token`: the token of a client that does not exist is invalid (RFC 7592, section 2). */
function asClientError(error: ServiceError): ServiceError {
  if (error.code !== 'not_found') return error
  return new ServiceError('invalid_token', 'This client does not exist.', { cause: error })
}

function toOauthError(error: ServiceError, instance: string, publicUrl: string) {
  const { code, errors } = error
  // The use cases know the member by its name at /register.
  const ofClient = errors?.map(({ path, message }) => ({
    path: path === '/name' ? '/client_name' : path,
    message,
  }))
  const isRedirectUri = errors?.[0]?.path.startsWith('/redirect_uris') ?? false
  return oauthErrorBody(error, {
    name: isRedirectUri ? 'invalid_redirect_uri' : (NAMES[code] ?? code),
    errors: ofClient,
    instance,
    publicUrl,
  })
}

/** Returns the body of an error for an OAuth client. @param options.name its name in the RFC of the endpoint */
export function oauthErrorBody(
  error: ServiceError,
  {
    name,
    errors,
    instance,
    publicUrl,
    status,
  }: {
    name: string
    errors: readonly FieldError[] | undefined
    instance: string
    publicUrl: string
    status?: number
  },
): z.infer<typeof oauthErrorSchema> {
  const { code, message, nextStep } = error
  return {
    error: name,
    error_description: inAscii(message),
    code,
    retryable: errorCatalogue[code].retryable,
    next_step: nextStep.replaceAll('"detail"', '"error_description"'),
    error_uri: linksOf(publicUrl).problem(code),
    instance,
    ...(errors === undefined ? {} : { errors: [...errors] }),
    ...metadataOf(error, publicUrl, status),
  }
}

/** Returns a text in the characters that an error description may have. */
export function inAscii(text: string): string {
  return text
    .replaceAll('"', "'")
    .replaceAll('…', '...')
    .replace(NOT_PRINTABLE, (character) => `(${codePoint(character)})`)
}

/** The OAuth dialect, for the OpenAPI document. */
export const oauthDialect: Dialect = {
  name: 'OAuthError',
  mediaType: 'application/json',
  schema: oauthErrorSchema,
  toBody: toOauthError,
  field: 'client_name',
  instead: { not_found: 'invalid_token' },
  statusOf: (code) => problemStatus[code],
}

/** Returns the `responses` of a route's schema for these codes and those of any route, in the OAuth dialect. */
export function oauthErrorResponses(...codes: ErrorCode[]) {
  return responsesOf(oauthDialect, codes)
}
