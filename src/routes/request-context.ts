import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import { actorOf } from '../http/authenticate.ts'
import { readWait } from '../http/prefer.ts'
import { hasLeft } from '../http/request-log.ts'
import type { Credential, RegistrationCall } from '../registration/deps.ts'

/** Time reserved before the deadline to send the response, in milliseconds. */
const ANSWER_RESERVE_MS = 100
/** Time reserved after a wait for the API to record the response, in milliseconds; at most half of the deadline. */
const RECORD_RESERVE_MS = 1_000

/** Returns the context of a request that mints a key. The response is due `registerTimeoutMs` after its arrival. */
export function requestContext(
  request: FastifyRequest,
  reply: FastifyReply,
  { registerTimeoutMs }: Pick<Config, 'registerTimeoutMs'>,
): RegistrationCall {
  const arrivedAt = performance.now() - reply.elapsedTime
  const wait = readWait(request.headers['prefer'])
  const longest = registerTimeoutMs - Math.min(RECORD_RESERVE_MS, registerTimeoutMs / 2)
  return {
    actor: actorOf(request),
    timeoutMs: Math.max(0, Math.floor(registerTimeoutMs - reply.elapsedTime - ANSWER_RESERVE_MS)),
    readyBy: wait === undefined ? null : arrivedAt + Math.min(wait * 1_000, longest),
    isGone: () => hasLeft(reply),
    log: request.log,
  }
}

/**
 * Sets the headers of a response with a new key: `Idempotency-Replayed` for a replay, and `Preference-Applied` if the
 * service waited for the API (RFC 7240).
 */
export function setCredentialHeaders(reply: FastifyReply, { replayed, ready }: Credential): void {
  if (replayed) reply.header('idempotency-replayed', 'true')
  if (ready !== null) reply.header('preference-applied', 'wait')
}
