import type { FastifyInstance } from 'fastify'
import type { ErrorCode } from '../error-catalogue.ts'
import type { ServiceError } from '../errors.ts'
import { oauthErrorBody, oauthErrorSchema } from './oauth-error.ts'
import { type Dialect, responsesOf } from './openapi-errors.ts'
import { problemStatus, sendError, toServiceError } from './problem.ts'
import { FORM_TYPE } from './read-form.ts'
import { logError } from './request-log.ts'

/** The codes that have a name of their own at a token endpoint (RFC 6749, section 5.2). */
const OWN_NAMES: readonly ErrorCode[] = ['invalid_client', 'unsupported_grant_type']

/**
 * Returns the status of an error at the token endpoint: 400 for everything that is wrong with a grant (RFC 6749, section 5.2; RFC
 * 7523, section 3.1), and otherwise that of the code.
 */
function statusOf(code: ErrorCode): number {
  const status = problemStatus[code]
  return code !== 'invalid_client' && [401, 403, 409].includes(status) ? 400 : status
}

function nameOf(code: ErrorCode): string {
  if (OWN_NAMES.includes(code)) return code
  // As at the other endpoint that clients assume: there is no grant here.
  if (code === 'not_found') return 'unsupported_grant_type'
  if ([401, 403, 409].includes(problemStatus[code]) || code === 'invalid_grant') return 'invalid_grant'
  const status = statusOf(code)
  if (status === 503) return 'temporarily_unavailable'
  if (status >= 500) return 'server_error'
  return status === 429 ? code : 'invalid_request'
}

function toTokenError(error: ServiceError, instance: string, publicUrl: string) {
  const { code, errors } = error
  return oauthErrorBody(error, { name: nameOf(code), errors, instance, publicUrl, status: statusOf(code) })
}

/** Sends the errors of a plugin's routes as those of a token endpoint. */
export function answerTokenErrors(app: FastifyInstance, publicUrl: string): void {
  app.setErrorHandler((thrown: Error, request, reply) => {
    const error = toServiceError(thrown)
    const status = statusOf(error.code)
    logError(request, reply, error, status, thrown)
    const body = toTokenError(error, request.id, publicUrl)
    return sendError(reply, request, error, publicUrl, {
      ...{ type: 'application/json', body, status, accepts: FORM_TYPE },
    })
  })
}

/** The errors of a token endpoint, for the OpenAPI document. */
export const tokenDialect: Dialect = {
  name: 'TokenError',
  mediaType: 'application/json',
  schema: oauthErrorSchema,
  toBody: toTokenError,
  field: 'grant_type',
  instead: {},
  statusOf,
}

/** Returns the `responses` of a route's schema for these codes and those of any route, as errors of a token endpoint. */
export function tokenErrorResponses(...codes: ErrorCode[]) {
  return responsesOf(tokenDialect, codes)
}
