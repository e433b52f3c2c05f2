import type { FastifyRequest } from 'fastify'

/** The longest text of an address, of IPv6 with a zone. */
const LONGEST = 64

/** The addresses of requests, from their arrival: the address of a socket is not known any more after it was closed. */
const addresses = new WeakMap<FastifyRequest, string>()

/**
 * Returns the address of the client, as the trusted proxies report it. At most 64 characters: a client that reaches the
 * service without its proxy can write anything there, and the address is logged, counted and stored.
 */
export function clientAddress(request: FastifyRequest): string {
  const known = addresses.get(request)
  if (known !== undefined) return known
  const ip: string | undefined = request.ip
  const address = (ip ?? 'unknown').slice(0, LONGEST)
  addresses.set(request, address)
  return address
}
