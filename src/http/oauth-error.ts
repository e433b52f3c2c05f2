import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { linksOf } from '../discovery/links.ts'
import { type ErrorCode, errorCatalogue, ServiceError } from '../errors.ts'
import { type Dialect, responsesOf } from './error-responses.ts'
import { answerHeaders, problemStatus, toServiceError } from './problem.ts'

/** The body of an error in the dialect of OAuth (RFC 7591, section 3.2.2; RFC 6750), with members of this service. */
export const oauthErrorSchema = z
  .object({
    error: z.string().describe('As RFC 7591 and RFC 6750 have it, otherwise the code'),
    error_description: z.string().describe('What went wrong this time, in ASCII'),
    code: z.string().describe('The code of the same error everywhere else: stable, decide on this'),
    retryable: z.boolean().describe('Whether the same request may succeed later, unchanged'),
    next_step: z.string().describe('What to do now'),
    error_uri: z.string().describe('A page that explains the code'),
    instance: z.string().describe('The request id'),
    errors: z
      .array(
        z.object({
          path: z.string().describe('JSON Pointer into the body'),
          message: z.string().describe('What is wrong there'),
        }),
      )
      .optional()
      .describe('Every fault of the request that has a place in it'),
  })
  .meta({ id: 'OAuthError' })

/** The errors that the RFCs name; every other one goes by its code. */
const NAMES: Partial<Record<ErrorCode, string>> = {
  invalid_request: 'invalid_client_metadata',
  name_not_allowed: 'invalid_client_metadata',
  plan_not_allowed: 'invalid_client_metadata',
  missing_token: 'invalid_token',
  token_expired: 'invalid_token',
  token_revoked: 'invalid_token',
}

/** Characters that `error_description` may have (RFC 6749, section 5.2). */
const NOT_PRINTABLE = /[^\x20-\x21\x23-\x5b\x5d-\x7e]/g

/** Answers the errors of the routes of a plugin in the dialect of OAuth. */
export function answerOauthErrors(app: FastifyInstance, publicUrl: string): void {
  app.setErrorHandler((error: Error, request, reply) => {
    const mapped = asClientError(toServiceError(error))
    const status = problemStatus[mapped.code]
    if (status >= 500) request.log.error({ err: error, code: mapped.code }, 'request failed')
    answerHeaders(reply, mapped, publicUrl)
    return reply
      .code(status)
      .type('application/json')
      .send(toOauthError(mapped, request.id, publicUrl))
  })
}

/** RFC 7592, section 2: a client that is not there is a token that is good for nothing. */
function asClientError(error: ServiceError): ServiceError {
  if (error.code !== 'not_found') return error
  return new ServiceError('invalid_token', 'There is no such client.', { cause: error })
}

function toOauthError(error: ServiceError, instance: string, publicUrl: string) {
  const { code, message, errors, nextStep } = error
  const isRedirectUri = errors?.[0]?.path.startsWith('/redirect_uris') ?? false
  const { retryable } = errorCatalogue[code]
  return {
    error: isRedirectUri ? 'invalid_redirect_uri' : (NAMES[code] ?? code),
    error_description: message.replaceAll('"', "'").replaceAll('…', '...').replace(NOT_PRINTABLE, ' '),
    code,
    retryable,
    next_step: nextStep.replaceAll('"detail"', '"error_description"'),
    error_uri: linksOf(publicUrl).problem(code),
    instance,
    ...(errors === undefined ? {} : { errors: [...errors] }),
  }
}

/** The same for the document. */
export const oauthDialect: Dialect = {
  name: 'OAuthError',
  mediaType: 'application/json',
  schema: oauthErrorSchema,
  toBody: toOauthError,
  field: 'client_name',
  instead: { not_found: 'invalid_token' },
}

/** The `responses` of a route for these codes and those of any route, in this dialect. */
export function oauthErrorResponses(...codes: ErrorCode[]) {
  return responsesOf(oauthDialect, codes)
}
