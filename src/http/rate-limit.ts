import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ServiceError } from '../errors.ts'
import { authenticated, managing } from './authenticate.ts'

const WINDOW_S = 60
/** Each asks API Gateway something, whose quota is for all. */
const PER_REGISTRATION = 60

type Check = ReturnType<FastifyInstance['createRateLimit']>

/** The limits, each a hook. Both count in memory, per process. */
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
export async function createRateLimits(app: FastifyInstance, perAddress: number): Promise<RateLimits> {
  await app.register(rateLimit, { global: false, timeWindow: WINDOW_S * 1_000 })
  const byAddress = app.createRateLimit({ max: perAddress })
  const byToken = app.createRateLimit({
    keyGenerator: (request) => authenticated(request).token.id,
    max: (request) => authenticated(request).token.ratePerMinute ?? 0,
  })
  const byRegistration = app.createRateLimit({
    keyGenerator: (request) => managing(request).registration.id,
    max: PER_REGISTRATION,
  })
  return {
    byRegistration: (request, reply) => apply('registration', byRegistration, request, reply),
    async byAddress(request, reply) {
      if (perAddress === 0 || request.routeOptions.config.rateLimit === false) return
      await apply('address', byAddress, request, reply)
    },
    async byToken(request, reply) {
      if (authenticated(request).token.ratePerMinute !== null) await apply('token', byToken, request, reply)
    },
  }
}

/**
 * Counts the request and says where the caller stands, in the fields of draft-ietf-httpapi-ratelimit-headers-10.
 * @throws ServiceError `rate_limited`
 */
async function apply(
  policy: string,
  check: Check,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const limit = await check(request)
  if (limit.isAllowed) return
  append(reply, 'ratelimit-policy', `"${policy}";q=${limit.max};w=${WINDOW_S}`)
  append(reply, 'ratelimit', `"${policy}";r=${limit.remaining};t=${limit.ttlInSeconds}`)
  if (limit.isExceeded) {
    throw new ServiceError('rate_limited', `More than ${limit.max} requests a minute from this ${policy}.`, {
      retryAfter: Math.max(1, limit.ttlInSeconds),
    })
  }
}

/** Both fields are lists (RFC 9651): a second policy joins the first. */
function append(reply: FastifyReply, name: string, item: string): void {
  const present = reply.getHeader(name)
  reply.header(name, present === undefined ? item : `${String(present)}, ${item}`)
}
