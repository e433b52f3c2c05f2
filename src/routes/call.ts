import type { FastifyReply, FastifyRequest } from 'fastify'
import { actorOf } from '../http/authenticate.ts'
import type { RegistrationCall } from '../registration/context.ts'

/** Time kept back from the deadline for writing the answer, in milliseconds. */
const ANSWER_RESERVE_MS = 100

/** The circumstances of a request that makes a key. @param timeoutMs when it is to be answered, from its arrival on */
export function callOf(request: FastifyRequest, reply: FastifyReply, timeoutMs: number): RegistrationCall {
  return {
    actor: actorOf(request),
    timeoutMs: Math.max(0, Math.floor(timeoutMs - reply.elapsedTime - ANSWER_RESERVE_MS)),
    // Closed before it was written: the connection broke.
    isGone: () => reply.raw.closed,
    log: request.log,
  }
}
