import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { randomBase62 } from '../auth/random.ts'
import { ServiceError } from '../errors.ts'
import type { CorsHeaders } from './cors.ts'
import { rawError } from './problem.ts'
import { logError } from './request-log.ts'

/** The most header fields of a request. Clients send a dozen, and proxies add some. */
const MOST_HEADERS = 200
/** The size of a target with the names and values of the headers that is accepted, in bytes. */
const HEAD_LIMIT = 16 * 1_024
/**
 * The size that Node.js reads, so that most heads that are too large are refused like other requests: as a page for a
 * browser, without a body for HEAD. Of a head that is larger still, only the last packet is known.
 */
export const READ_LIMIT = 4 * HEAD_LIMIT
/** The headers that a request has once: of two, each program on the way could read another one. */
const SINGLE = ['Host', 'Authorization', 'Content-Type', 'Idempotency-Key']
/** `uri-host [":" port]` (RFC 9110, section 7.2). It is empty for a target without an authority. */
const HOST = /^(?:\[[\da-f:.%\w]*\]|[\w.~!$&'()*+,;=%-]*)(?::\d*)?$/i

/**
 * Returns the error of a request whose head is too large, or that two programs could understand differently: without one
 * valid Host (RFC 9112, section 3.2), with two headers of a kind that a request has once, with so many headers that a proxy
 * may have dropped some, or with a target that its method cannot have. The connection is then closed.
 */
export function faultOfHead(
  { raw, originalUrl }: FastifyRequest,
  reply: FastifyReply,
): ServiceError | undefined {
  const names = raw.rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
  const fault = whatIsWrong()
  // A proxy may read the next bytes of this connection as another request.
  if (fault !== undefined) reply.header('connection', 'close')
  return fault

  function whatIsWrong(): ServiceError | undefined {
    if (originalUrl.length > HEAD_LIMIT) return lineTooLong()
    if (originalUrl.length + raw.rawHeaders.join('').length > HEAD_LIMIT) return headersTooLarge()
    if (names.length > MOST_HEADERS)
      return new ServiceError('headers_too_large', `The request has more than ${MOST_HEADERS} header fields.`)
    const twice = SINGLE.find(
      (name) => names.indexOf(name.toLowerCase()) !== names.lastIndexOf(name.toLowerCase()),
    )
    if (twice !== undefined)
      return new ServiceError('invalid_request', `The request has more than one ${twice} header.`)
    if (!names.includes('host') && raw.httpVersion === '1.1')
      return new ServiceError('invalid_request', 'The Host header is missing.')
    if (!HOST.test(raw.headers.host ?? ''))
      return new ServiceError('invalid_request', 'The Host header is not a host name or an IP address.')
    if (raw.url === '*' && raw.method !== 'OPTIONS')
      return new ServiceError('invalid_request', 'The target * is only for OPTIONS.')
    return undefined
  }
}

export interface MalformedRequestOptions {
  readonly log: FastifyBaseLogger
  readonly publicUrl: string
  /** The responses that each connection is still waiting for, in their order. */
  readonly owed: WeakMap<Socket, ReadonlySet<FastifyReply>>
  readonly corsHeaders: CorsHeaders
}

/** An error of Node's HTTP parser. `rawPacket` is the data with which it failed. */
interface ParserError extends Error {
  readonly code?: string
  readonly rawPacket?: unknown
}

/** Creates the handler of what is no valid HTTP request: it sends an error and closes the connection. */
export function createClientErrorHandler({ log, publicUrl, owed, corsHeaders }: MalformedRequestOptions) {
  return (error: ParserError, socket: Socket): void => {
    const [reply, ...others] = owed.get(socket) ?? []
    // The client could take this for the response to an earlier request on the connection.
    const isOfEarlier = reply !== undefined && (others.length > 0 || reply.sent || reply.request.raw.complete)
    if (!socket.writable || isOfEarlier) return void socket.destroy()
    const instance = reply?.request.id ?? `req_${randomBase62(20)}`
    const refusal = refusalOf(error)
    const accept = reply?.request.headers.accept ?? acceptIn(error.rawPacket)
    const { problem, headers: ofBody, body } = rawError(refusal, instance, publicUrl, accept)
    const headers = {
      ...ofBody,
      'x-request-id': instance,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...(problem.retry_after === undefined ? {} : { 'retry-after': String(problem.retry_after) }),
      date: new Date().toUTCString(),
      'content-length': Buffer.byteLength(body),
      connection: 'close',
    }
    if (reply !== undefined) {
      // The body of this request stopped half-way. From now on Fastify sends nothing itself.
      reply.hijack()
      logError(reply.request, reply, refusal, problem.status, error)
      reply.raw.writeHead(problem.status, { ...headers, ...corsHeaders(reply.request, reply) }).end(body)
      return
    }
    log.debug(
      { request_id: instance, status: problem.status, code: problem.code, err: error },
      'invalid request received',
    )
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.end(
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${lines.join('')}\r\n${isHead(error.rawPacket) ? '' : body}`,
    )
  }
}

const lineTooLong = () => new ServiceError('uri_too_long', 'The request line is longer than 16 KiB.')
const headersTooLarge = () =>
  new ServiceError('headers_too_large', 'The request line and the headers are larger than 16 KiB.')

/** Maps an error of Node's HTTP parser to a ServiceError. */
function refusalOf({ code, rawPacket }: ParserError): ServiceError {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return isRequestLine(rawPacket) ? lineTooLong() : headersTooLarge()
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new ServiceError('payload_too_large', 'The extensions of the chunks are larger than 16 KiB.')
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new ServiceError('request_timeout', 'The request took too long to arrive.', { retryAfter: 1 })
    default:
      return new ServiceError(
        'invalid_request',
        'The request is not valid HTTP, or its method is not supported.',
      )
  }
}

/** Reports whether the data that is too much is a request line, as far as it begins with it. */
function isRequestLine(data: unknown): boolean {
  return /^[A-Z-]+ [^\r\n]+$/.test(textOf(data).slice(0, HEAD_LIMIT))
}

/** Returns the `Accept` header in the data, such as that of a browser with too many cookies. */
function acceptIn(data: unknown): string | undefined {
  return textOf(data).match(/\naccept:([^\r\n]{0,1024})(?=[\r\n]|$)/i)?.[1]
}

/** Reports whether the data begins with a HEAD request, whose response has no body (RFC 9110, section 9.3.2). */
function isHead(data: unknown): boolean {
  return /^[\r\n]*HEAD /.test(textOf(data))
}

function textOf(data: unknown): string {
  return Buffer.isBuffer(data) ? data.toString('latin1') : ''
}
