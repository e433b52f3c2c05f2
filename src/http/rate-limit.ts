import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../clock.ts'
import { ServiceError } from '../errors.ts'
import type { Store } from '../store/store.ts'
import { authenticated, managing } from './authenticate.ts'
import { createTokenRate, type TokenRate } from './token-rate.ts'

const WINDOW_S = 60
/** Each asks API Gateway something, whose quota is for all. */
const PER_REGISTRATION = 60

/** The limits, each a hook. That of a token is counted in the store, for all processes; the others in memory, for this one. */
export interface RateLimits {
  /**
   * Requests a minute from one address (IPv6: one /64); asked before anything of the body is read. Routes with
   * `config: { rateLimit: false }` are not counted.
   */
  byAddress(request: FastifyRequest, reply: FastifyReply): Promise<void>
  /** Requests a minute with one bootstrap token, as its policy says; asked after authentication. */
  byToken(request: FastifyRequest, reply: FastifyReply): Promise<void>
  /** Requests a minute that manage one registration; asked after authentication. */
  byRegistration(request: FastifyRequest, reply: FastifyReply): Promise<void>
}

/** @param perAddress requests a minute; 0: no limit */
export async function createRateLimits(
  app: FastifyInstance,
  perAddress: number,
  { store, clock }: { store: Store; clock: Clock },
): Promise<RateLimits> {
  await app.register(rateLimit, { global: false, timeWindow: WINDOW_S * 1_000 })
  const ofAddress = app.createRateLimit({ max: perAddress })
  const ofRegistration = app.createRateLimit({
    keyGenerator: (request) => managing(request).registration.id,
    max: PER_REGISTRATION,
  })
  const ofToken = createTokenRate(store, clock)
  return {
    async byAddress(request, reply) {
      if (perAddress === 0 || request.routeOptions.config.rateLimit === false) return
      check('address', perAddress, await ofAddress(request), reply)
    },
    async byRegistration(request, reply) {
      check('registration', PER_REGISTRATION, await ofRegistration(request), reply)
    },
    async byToken(request, reply) {
      const { id, ratePerMinute } = authenticated(request).token
      if (ratePerMinute !== null) check('token', ratePerMinute, await ofToken(id, ratePerMinute), reply)
    },
  }
}

/** Where a caller stands; only an address on the allow list, of which there is none, would be without figures. */
type RateLimitStatus = Awaited<ReturnType<ReturnType<FastifyInstance['createRateLimit']>>> | TokenRate

/**
 * Says where the caller stands, in the fields of draft-ietf-httpapi-ratelimit-headers-10.
 * @throws ServiceError `rate_limited`
 */
function check(policy: string, max: number, status: RateLimitStatus, reply: FastifyReply): void {
  if (!('ttlInSeconds' in status)) return
  const { isExceeded, remaining, ttlInSeconds } = status
  append(reply, 'ratelimit-policy', `"${policy}";q=${max};w=${WINDOW_S}`)
  append(reply, 'ratelimit', `"${policy}";r=${remaining};t=${ttlInSeconds}`)
  if (isExceeded) {
    throw new ServiceError('rate_limited', `More than ${max} requests a minute from this ${policy}.`, {
      retryAfter: Math.max(1, ttlInSeconds),
    })
  }
}

/** Both fields are lists (RFC 9651): a second policy joins the first. */
function append(reply: FastifyReply, name: string, item: string): void {
  const present = reply.getHeader(name)
  reply.header(name, present === undefined ? item : `${String(present)}, ${item}`)
}
