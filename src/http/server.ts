import { METHODS, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { randomBase62 } from '../auth/secret.ts'
import { ServiceError } from '../errors.ts'
import { PROBLEM_TYPE, sendProblem, toProblem } from './problem.ts'

/** The largest body read, in bytes. */
const BODY_LIMIT = 16 * 1_024
/** A client that is slower than this to send its headers, or its whole request, is cut off (ms). */
const HEADERS_TIMEOUT = 5_000
const REQUEST_TIMEOUT = 10_000

export interface ServerOptions {
  readonly log: FastifyBaseLogger
  readonly publicUrl: string
  readonly trustProxy: false | number | string[]
}

/**
 * Fastify as this service wants it: bounded bodies and times, request ids of its own, nothing cached, and
 * problem documents even for what never becomes a request.
 */
export function createHttpServer({ log, publicUrl, trustProxy }: ServerOptions): FastifyInstance {
  /** How many answers each connection waits for. */
  const owed = new WeakMap<Socket, number>()
  const app = Fastify({
    loggerInstance: log,
    // One line a request, written in the onResponse hook below.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    // Hop 0 is the peer of the socket itself.
    trustProxy: typeof trustProxy === 'number' ? (_address, hop) => hop < trustProxy : trustProxy,
    bodyLimit: BODY_LIMIT,
    // /register/ is /register, and not a registration without an id.
    routerOptions: { ignoreTrailingSlash: true },
    requestTimeout: REQUEST_TIMEOUT,
    return503OnClosing: false, // Answered as a problem below.
    genReqId: () => `req_${randomBase62(20)}`,
    requestIdHeader: false,
    http: {
      requireHostHeader: false, // Checked below, for a problem document.
      headersTimeout: HEADERS_TIMEOUT,
      requestTimeout: REQUEST_TIMEOUT,
      connectionsCheckingInterval: 1_000,
    },
    frameworkErrors: (error, request, reply) => {
      const detail =
        error.code === 'FST_ERR_BAD_URL' ? 'The path is not a valid URL path.' : 'This path does not exist.'
      setCommonHeaders(request, reply) // No hook runs for these.
      sendProblem(reply, request, new ServiceError('not_found', detail), publicUrl)
    },
    clientErrorHandler: (error, socket) => {
      // An answer that is still owed on this connection must not be taken for the one to this.
      if (!socket.writable || (owed.get(socket) ?? 0) > 0) return void socket.destroy()
      const instance = `req_${randomBase62(20)}`
      const refusal = rawRefusal(error.code)
      const problem = toProblem(refusal, instance, publicUrl)
      const body = JSON.stringify(problem)
      log.debug({ request_id: instance, status: problem.status, err: error }, 'not a request')
      socket.end(
        `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\ncontent-type: ${PROBLEM_TYPE}\r\n` +
          `x-request-id: ${instance}\r\ncache-control: no-store\r\n` +
          (refusal.retryAfter === undefined ? '' : `retry-after: ${refusal.retryAfter}\r\n`) +
          `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      )
    },
  })
  // An expectation that is not 100-continue is ignored, as RFC 9110 allows, instead of a bare 417.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  for (const method of METHODS) {
    // So that 405 is answered to them too.
    if (!app.supportedMethods.includes(method) && method !== 'CONNECT') app.addHttpMethod(method)
  }
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  app.removeContentTypeParser('text/plain')
  acceptEmptyJson(app)

  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })
  app.addHook('onRequest', async (request, reply) => {
    setCommonHeaders(request, reply)
    const { socket } = request.raw
    owed.set(socket, (owed.get(socket) ?? 0) + 1)
    reply.raw.once('close', () => owed.set(socket, (owed.get(socket) ?? 1) - 1))
    if (request.raw.httpVersion === '1.1' && request.headers.host === undefined) {
      throw new ServiceError('invalid_request', 'The Host header is missing.')
    }
    if ((request.headers['content-encoding'] ?? 'identity') !== 'identity') {
      throw new ServiceError('unsupported_media_type', 'The body must not be compressed.')
    }
    if (closing) throw new ServiceError('shutting_down', 'This server is stopping.', { retryAfter: 1 })
  })
  app.addHook('onSend', async (_request, reply) => {
    // A kept-alive connection would hold the stop up until its client goes away.
    if (closing) reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (request, reply) => {
    request.log.info(
      {
        method: request.method,
        route: request.routeOptions.url ?? 'none',
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        ip: request.ip,
      },
      'answered',
    )
  })
  return app
}

/** Many clients name the content type of a body that they do not send. The schema says whether one is needed. */
function acceptEmptyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined)
    else parse(request, body.toString(), done)
  })
}

function setCommonHeaders(request: FastifyRequest, reply: FastifyReply): void {
  reply.headers({
    'x-request-id': request.id,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
}

/** What Node.js refused before it was a request. */
function rawRefusal(code: string | undefined): ServiceError {
  if (code === 'HPE_HEADER_OVERFLOW')
    return new ServiceError('payload_too_large', 'The headers are too large.')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new ServiceError('request_timeout', 'The request took too long to arrive.', { retryAfter: 1 })
  }
  return new ServiceError('invalid_request', 'What arrived is not an HTTP request.')
}
