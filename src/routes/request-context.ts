import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import { actorOf } from '../http/authenticate.ts'
import { readWait } from '../http/prefer.ts'
import type { Credential, RegistrationCall } from '../registration/context.ts'

/** Time kept back from the deadline for writing the answer, in milliseconds. */
const ANSWER_RESERVE_MS = 100
/** Time kept back from it, where a key was waited for, to record that it is answered; at most half of it. */
const RECORD_RESERVE_MS = 1_000

/** The circumstances of a request that makes a key, to be answered in `registerTimeoutMs` from its arrival on. */
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
    // Closed before it was written: the connection broke.
    isGone: () => reply.raw.closed,
    log: request.log,
  }
}

/** Says in the headers of an answer with a new key how it came about: a replay; a preference that was heeded (RFC 7240). */
export function setCredentialHeaders(reply: FastifyReply, { replayed, ready }: Credential): void {
  if (replayed) reply.header('idempotency-replayed', 'true')
  if (ready !== null) reply.header('preference-applied', 'wait')
}
