import { METHODS, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify'
import { serializerCompiler } from 'fastify-type-provider-zod'
import { randomBase62 } from '../auth/random.ts'
import { linksOf } from '../discovery/links.ts'
import { ServiceError } from '../errors.ts'
import { PROBLEM_TYPE, sendProblem, toProblem } from './problem.ts'
import { compileValidator, readBodies } from './read-body.ts'
import { logError } from './request-log.ts'
import { createRequestPaths } from './request-path.ts'

/** The largest body that is accepted, in bytes. */
const BODY_LIMIT = 16 * 1_024
/**
 * The longest preferences that are parsed, in characters. A longer one counts as absent, because a preference is never an
 * error; no client needs half of it.
 */
const PREFERENCE_LIMIT = 1_024
const PREFERENCES = ['accept', 'prefer'] as const
/** The time (ms) that a client has to send its headers, and its whole request, before it is disconnected. */
const HEADERS_TIMEOUT = 5_000
const REQUEST_TIMEOUT = 10_000
/** The time (ms) for which a client may take none of its response before it is disconnected. */
const SEND_TIMEOUT = 10_000

export interface ServerOptions {
  readonly log: FastifyBaseLogger
  readonly publicUrl: string
}

/**
 * Creates the Fastify instance of this service: with limits on sizes and times, request ids of its own, responses that
 * must not be cached, and problem documents even for input that is no valid request.
 */
export function createHttpServer({ log, publicUrl }: ServerOptions): FastifyInstance {
  /** The responses that each connection is still waiting for, in their order. */
  const owed = new WeakMap<Socket, Set<FastifyReply>>()
  const paths = createRequestPaths(linksOf(publicUrl).basePath)
  const app = Fastify({
    loggerInstance: log,
    // logRequests logs one line per request instead.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    bodyLimit: BODY_LIMIT,
    // /register/ means /register, not a registration with an empty id.
    routerOptions: { ignoreTrailingSlash: true },
    rewriteUrl: paths.rewrite,
    requestTimeout: REQUEST_TIMEOUT,
    return503OnClosing: false, // A hook below responds with a problem document instead.
    genReqId: () => `req_${randomBase62(20)}`,
    requestIdHeader: false,
    http: {
      requireHostHeader: false, // A hook below checks it and responds with a problem document.
      headersTimeout: HEADERS_TIMEOUT,
      requestTimeout: REQUEST_TIMEOUT,
      connectionsCheckingInterval: 1_000,
    },
    frameworkErrors: (error, request, reply) => {
      const detail =
        error.code === 'FST_ERR_BAD_URL' ? 'The path is not a valid URL path.' : 'This path does not exist.'
      setCommonHeaders(request, reply) // Hooks do not run for these errors.
      sendProblem(reply, request, new ServiceError('not_found', detail), publicUrl)
    },
    clientErrorHandler: (error, socket) => {
      const [reply, ...others] = owed.get(socket) ?? []
      // The client could take this for the response to an earlier request on the connection.
      const isOfEarlier =
        reply !== undefined && (others.length > 0 || reply.sent || reply.request.raw.complete)
      if (!socket.writable || isOfEarlier) return void socket.destroy()
      const instance = reply?.request.id ?? `req_${randomBase62(20)}`
      const refusal = rawRefusal(error.code)
      const problem = toProblem(refusal, instance, publicUrl)
      const body = JSON.stringify(problem)
      const headers = {
        'content-type': PROBLEM_TYPE,
        'x-request-id': instance,
        'cache-control': 'no-store',
        ...(refusal.retryAfter === undefined ? {} : { 'retry-after': String(refusal.retryAfter) }),
        'content-length': Buffer.byteLength(body),
        connection: 'close',
      }
      if (reply !== undefined) {
        // The body of this request stopped half-way. From now on Fastify sends nothing itself.
        reply.hijack()
        logError(reply.request, reply, refusal, problem.status, error)
        reply.raw.writeHead(problem.status, headers).end(body)
        return
      }
      log.debug(
        { request_id: instance, status: problem.status, code: problem.code, err: error },
        'invalid request received',
      )
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
      socket.end(`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${lines.join('')}\r\n${body}`)
    },
  })
  // Expectations other than 100-continue are ignored, as RFC 9110 allows; Node.js would send a bare 417.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  for (const method of METHODS) {
    // Without this, Fastify would not respond with 405 to these methods.
    if (!app.supportedMethods.includes(method) && method !== 'CONNECT') app.addHttpMethod(method)
  }
  paths.watch(app)
  app.setValidatorCompiler(compileValidator)
  app.setSerializerCompiler(serializerCompiler)
  readBodies(app)

  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })
  app.addHook('onRequest', async (request, reply) => {
    setCommonHeaders(request, reply)
    for (const name of PREFERENCES) {
      if ((request.headers[name]?.length ?? 0) > PREFERENCE_LIMIT) delete request.headers[name]
    }
    const { socket } = request.raw
    const replies = owed.get(socket) ?? new Set()
    owed.set(socket, replies.add(reply))
    reply.raw.once('close', () => {
      replies.delete(reply)
      const [next] = replies
      // Making the next response may take longer than sending this one.
      if (next !== undefined && !next.sent) socket.setTimeout(0)
    })
    if (request.raw.httpVersion === '1.1' && request.headers.host === undefined) {
      throw new ServiceError('invalid_request', 'The Host header is missing.')
    }
    if (closing) throw new ServiceError('shutting_down', 'This server is shutting down.', { retryAfter: 1 })
  })
  app.addHook('onSend', async (request, reply) => {
    // It begins when the connection's earlier responses are sent.
    reply.raw.setTimeout(SEND_TIMEOUT, () => request.raw.destroy())
    // A kept-alive connection would delay the shutdown until its client disconnects.
    if (closing) reply.header('connection', 'close')
  })
  return app
}

function setCommonHeaders(request: FastifyRequest, reply: FastifyReply): void {
  reply.headers({
    'x-request-id': request.id,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
}

/** Maps an error of Node's HTTP parser, by its code, to a ServiceError. */
function rawRefusal(code: string | undefined): ServiceError {
  if (code === 'HPE_HEADER_OVERFLOW')
    return new ServiceError('payload_too_large', 'The headers are too large.')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new ServiceError('request_timeout', 'The request took too long to arrive.', { retryAfter: 1 })
  }
  return new ServiceError('invalid_request', 'The request is not valid HTTP, or its method is unknown.')
}
