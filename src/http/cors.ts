import type { FastifyReply, FastifyRequest } from 'fastify'
import { responseHeaders } from './response-headers.ts'

/** The request headers that routes read and that a page may set. */
const READ_HEADERS = 'Accept, Authorization, Content-Type, Idempotency-Key, Prefer'
/** With the one that only a method that a path does not support is answered with. */
const EXPOSED_HEADERS = [...Object.keys(responseHeaders), 'Allow'].join(', ')
/** The time for which a browser may remember the response to a preflight, in seconds: the longest that Chromium allows. */
const MAX_AGE_S = 7_200

/** Returns the headers of the CORS protocol for a response that is about to be sent, whatever its status. */
export type CorsHeaders = (request: FastifyRequest, reply: FastifyReply) => Record<string, string>

/**
 * Lets web pages of these origins call all routes and read all responses, without credentials of the browser (the CORS
 * protocol of the Fetch standard). A preflight is the OPTIONS request that every path answers. Pages of other origins get no
 * header of the protocol.
 * @param origins as browsers send them in `Origin`; none: no response has a header of the protocol
 */
export function createCors(origins: readonly string[]): CorsHeaders {
  const allowed = new Set(origins)
  return ({ method, headers: { origin } }, reply) => {
    if (allowed.size === 0) return {}
    const depends = reply.getHeader('vary')
    // Without an Origin too: a cache must not return that response to a page.
    const vary = depends === undefined ? 'Origin' : `${depends}, Origin`
    if (origin === undefined || !allowed.has(origin)) return { vary }
    const methods = method === 'OPTIONS' ? reply.getHeader('allow') : undefined
    return {
      vary,
      'access-control-allow-origin': origin,
      'access-control-expose-headers': EXPOSED_HEADERS,
      ...(methods === undefined
        ? {}
        : {
            'access-control-allow-methods': String(methods),
            'access-control-allow-headers': READ_HEADERS,
            'access-control-max-age': String(MAX_AGE_S),
          }),
    }
  }
}
