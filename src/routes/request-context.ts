import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import { actorOf } from '../http/authenticate.ts'
import { notePlan } from '../http/count-requests.ts'
import { readWait } from '../http/prefer.ts'
import { hasLeft } from '../http/request-log.ts'
import type { Deliveries } from '../registration/deliveries.ts'
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
    onPlan: (plan) => notePlan(request, plan),
    log: request.log,
  }
}

/**
 * Prepares a response with a new key: sets `Idempotency-Replayed` for a replay, and `Preference-Applied` if the service
 * waited for the API (RFC 7240), and notes the delivery once the response is sent.
 */
export function prepareCredential(
  reply: FastifyReply,
  { registration, replayed, ready }: Credential,
  deliveries: Deliveries,
): void {
  if (replayed) reply.header('idempotency-replayed', 'true')
  // A key from the pool is ready without having been waited for.
  const isWaitAsked = readWait(reply.request.headers['prefer']) !== undefined
  if (isWaitAsked && ready !== null) reply.header('preference-applied', 'wait')
  // `finish` is not emitted if the connection breaks before the last byte is written. A response that cannot be serialized is
  // sent as an error.
  reply.raw.once('finish', () => {
    if (reply.raw.statusCode === 201) deliveries.note(registration.id)
  })
}
