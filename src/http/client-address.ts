import type { FastifyRequest } from 'fastify'

/** The longest text of an address, of IPv6 with a zone. */
const LONGEST = 64

/**
 * Returns the address of the client, as the trusted proxies report it. At most 64 characters: a client that reaches the
 * service without its proxy can write anything there, and the address is logged, counted and stored.
 */
export function clientAddress(request: FastifyRequest): string {
  return request.ip.slice(0, LONGEST)
}
