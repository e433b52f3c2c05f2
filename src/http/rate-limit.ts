import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { networkOf } from '../client-network.ts'
import type { Clock } from '../clock.ts'
import { ServiceError } from '../errors.ts'
import type { Store } from '../store/store.ts'
import { authenticated, managing } from './authenticate.ts'
import { clientAddress } from './client-address.ts'
import { MonotonicStore } from './monotonic-store.ts'
import { createTokenRate, type TokenRate } from './token-rate-limit.ts'

const WINDOW_S = 60
/** Management requests a minute for one registration: each may call API Gateway, whose quota all of them share. */
const PER_REGISTRATION = 60

/**
 * The rate limits, each as a hook. Requests of a token are counted in the store, for all processes; the others in
 * memory, for this process. Each hook throws ServiceError `rate_limited`.
 */
export interface RateLimits {
  /**
   * Limits the requests a minute from one address (IPv6: one /64), before any of the body is read. Routes with
   * `config: { rateLimit: false }` are not counted.
   */
  byAddress(request: FastifyRequest, reply: FastifyReply): Promise<void>
  /** Limits the requests a minute with one bootstrap token, as its policy says. It runs after authentication. */
  byToken(request: FastifyRequest, reply: FastifyReply): Promise<void>
  /** Limits the management requests a minute for one registration. It runs after authentication. */
  byRegistration(request: FastifyRequest, reply: FastifyReply): Promise<void>
}

/** Creates the rate limits. @param perAddress requests a minute from one address; 0: no limit */
export async function createRateLimits(
  app: FastifyInstance,
  perAddress: number,
  { store, clock }: { store: Store; clock: Clock },
): Promise<RateLimits> {
  await app.register(rateLimit, { global: false, timeWindow: WINDOW_S * 1_000, store: MonotonicStore })
  const ofAddress = app.createRateLimit({
    keyGenerator: (request) => networkOf(clientAddress(request)),
    max: perAddress,
  })
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

/** The status of a caller under one limit. Only addresses on an allow list have no figures, and there is no list. */
type RateLimitStatus = Awaited<ReturnType<ReturnType<FastifyInstance['createRateLimit']>>> | TokenRate

/**
 * Sets the caller's status under a limit in the header fields of draft-ietf-httpapi-ratelimit-headers-10.
 * @throws ServiceError `rate_limited`
 */
function check(policy: string, max: number, status: RateLimitStatus, reply: FastifyReply): void {
  if (!('ttlInSeconds' in status)) return
  const { isExceeded, remaining, ttlInSeconds } = status
  append(reply, 'ratelimit-policy', `"${policy}";q=${max};w=${WINDOW_S}`)
  append(reply, 'ratelimit', `"${policy}";r=${remaining};t=${ttlInSeconds}`)
  if (isExceeded) {
    throw new ServiceError('rate_limited', `The limit for this ${policy} is ${max} requests a minute.`, {
      retryAfter: Math.max(1, ttlInSeconds),
    })
  }
}

/** Appends an item to a header field that is a list (RFC 9651): two limits can apply to one request. */
function append(reply: FastifyReply, name: string, item: string): void {
  const present = reply.getHeader(name)
  reply.header(name, present === undefined ? item : `${String(present)}, ${item}`)
}
