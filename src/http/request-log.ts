import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ErrorCode } from '../error-catalogue.ts'
import { ServiceError } from '../errors.ts'
import type { AuditIdentity } from '../store/audit.ts'
import { identified } from './authenticate.ts'
import { clientAddress } from './client-address.ts'

/** The status that the log shows for a request whose client disconnected before it had the response, as in nginx. */
const CLIENT_CLOSED = 499

/** The errors with which requests were answered; the code is `client_closed` if the client had disconnected before. */
const errors = new WeakMap<FastifyRequest, { error: ServiceError; code: ErrorCode | 'client_closed' }>()

/**
 * Logs one line for each request, when its response is sent or its client has disconnected: with the code of an error, and
 * with the token, the identity's issuer and rule, and the registration that it was authenticated for. Applies to routes added
 * afterwards.
 */
export function logRequests(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    const ip = clientAddress(request)
    reply.raw.once('close', () => {
      const { error, code } = failureOf(request, reply)
      const who = identified(request, error)
      request.log.info(
        {
          method: request.method,
          route: request.routeOptions.url ?? 'none',
          status: code === 'client_closed' ? CLIENT_CLOSED : reply.statusCode,
          ...(code === undefined ? {} : { code }),
          ...(who?.tokenId ? { token_id: who.tokenId } : {}),
          ...(who?.actor.identity ? issuerAndRule(who.actor.identity) : {}),
          ...(who?.registrationId ? { registration_id: who.registrationId } : {}),
          ms: Math.round(reply.elapsedTime * 10) / 10,
          ip,
        },
        'request completed',
      )
    })
  })
}

/** Returns the error with which a request was answered, and its code: `client_closed` if its client was not answered. */
export function failureOf(
  request: FastifyRequest,
  reply: FastifyReply,
): { error: ServiceError | undefined; code: ErrorCode | 'client_closed' | undefined } {
  const failure = errors.get(request)
  return { error: failure?.error, code: hasLeft(reply) ? 'client_closed' : failure?.code }
}

function issuerAndRule({ issuer, rule }: AuditIdentity) {
  return { ...(issuer === null ? {} : { issuer }), ...(rule === null ? {} : { rule }) }
}

/** Reports whether the client disconnected before it had the response. */
export function hasLeft({ raw }: FastifyReply): boolean {
  return raw.closed && !raw.writableFinished
}

/** Reports whether an error says that the connection ended before the request was complete. */
function isCutOff(error: Error): boolean {
  return 'code' in error && (error.code === 'HPE_INVALID_EOF_STATE' || error.code === 'ECONNRESET')
}

/** The levels of errors that are states of the service and no fault of one request. The line of the request has the code. */
const LEVELS: Partial<Record<ErrorCode, 'warn' | 'debug'>> = { overloaded: 'warn', shutting_down: 'debug' }

/**
 * Notes the error of a response for the line of its request, and logs a fault of the service with its cause, at level
 * `error`. A client that disconnected is no fault.
 * @param error the error as it was thrown
 */
export function logError(
  request: FastifyRequest,
  reply: FastifyReply,
  mapped: ServiceError,
  status: number,
  error: Error,
): void {
  const { code, alreadyLogged, clientClosed } = mapped
  // A response may still be written to a client that left while it sent its body: it is lost all the same.
  const isLost = hasLeft(reply) || isCutOff(error)
  errors.set(request, {
    error: error instanceof ServiceError ? error : mapped,
    code: isLost ? 'client_closed' : code,
  })
  const isOfClient = clientClosed || (isLost && code !== 'internal')
  if (status >= 500 && !isOfClient && !alreadyLogged)
    request.log[LEVELS[code] ?? 'error']({ err: error, code }, 'request failed')
}
