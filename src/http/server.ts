import { METHODS } from 'node:http'
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
import type { Config } from '../config.ts'
import { linksOf } from '../discovery/links.ts'
import { ServiceError } from '../errors.ts'
import { createCors } from './cors.ts'
import { endUnfinishedRequests } from './end-unfinished-requests.ts'
import { holdConnections } from './hold-connections.ts'
import { createClientErrorHandler, faultOfHead, READ_LIMIT } from './malformed-requests.ts'
import { sendProblem } from './problem.ts'
import { compileValidator, readBodies } from './read-body.ts'
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

/**
 * Creates the Fastify instance of this service: with limits on sizes and times, request ids of its own, responses that
 * must not be cached, and problem documents even for input that is no valid request.
 */
export function createHttpServer(
  { publicUrl, gatewayStage, corsOrigins }: Pick<Config, 'publicUrl' | 'gatewayStage' | 'corsOrigins'>,
  log: FastifyBaseLogger,
): FastifyInstance {
  /** The responses that each connection is still waiting for, in their order. */
  const owed = new WeakMap<Socket, Set<FastifyReply>>()
  const corsHeaders = createCors(corsOrigins)
  const paths = createRequestPaths(linksOf(publicUrl).basePath, gatewayStage)
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
      maxHeaderSize: READ_LIMIT, // A hook below refuses what is larger than this service accepts.
      headersTimeout: HEADERS_TIMEOUT,
      requestTimeout: REQUEST_TIMEOUT,
      connectionsCheckingInterval: 1_000,
    },
    frameworkErrors: (error, request, reply) => {
      const detail =
        error.code === 'FST_ERR_BAD_URL' ? 'The path is not a valid URL path.' : 'This path does not exist.'
      // Hooks do not run for these errors.
      setCommonHeaders(request, reply)
      reply.headers(corsHeaders(request, reply))
      ignoreLongPreferences(request)
      const fault = faultOfHead(request, reply) ?? new ServiceError('not_found', detail)
      sendProblem(reply, request, fault, publicUrl)
    },
    clientErrorHandler: createClientErrorHandler({ log, publicUrl, owed, corsHeaders }),
  })
  let closing = false
  // Before the hooks of the next two: what they read at a stop is refused.
  app.addHook('preClose', async () => {
    closing = true
  })
  holdConnections(app)
  endUnfinishedRequests(app, owed, HEADERS_TIMEOUT)
  app.server.maxHeadersCount = 0 // Node.js would drop the rest without a word; a hook below counts them.
  // Expectations other than 100-continue are ignored, as RFC 9110 allows; Node.js would send a bare 417.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  // Node.js would close the connection without a response.
  app.server.on('connect', (_request, socket) =>
    app.server.emit('clientError', new Error('CONNECT is not supported'), socket),
  )
  for (const method of METHODS) {
    // Without this, Fastify would not respond with 405 to these methods.
    if (!app.supportedMethods.includes(method) && method !== 'CONNECT') app.addHttpMethod(method)
  }
  paths.watch(app)
  app.setValidatorCompiler(compileValidator)
  app.setSerializerCompiler(serializerCompiler)
  readBodies(app)

  app.addHook('onRequest', async (request, reply) => {
    setCommonHeaders(request, reply)
    ignoreLongPreferences(request)
    const { socket } = request.raw
    const replies = owed.get(socket) ?? new Set()
    owed.set(socket, replies.add(reply))
    reply.raw.once('close', () => {
      replies.delete(reply)
      const [next] = replies
      // Making the next response may take longer than sending this one.
      if (next !== undefined && !next.sent) socket.setTimeout(0)
    })
    const fault = faultOfHead(request, reply)
    if (fault !== undefined) throw fault
    if (closing) throw new ServiceError('shutting_down', 'This server is shutting down.', { retryAfter: 1 })
  })
  app.addHook('onSend', async (request, reply) => {
    // It begins when the connection's earlier responses are sent.
    reply.raw.setTimeout(SEND_TIMEOUT, () => request.raw.destroy())
    reply.headers(corsHeaders(request, reply))
    // A kept-alive connection would delay the shutdown until its client disconnects.
    if (closing) reply.header('connection', 'close')
  })
  return app
}

function ignoreLongPreferences({ headers }: FastifyRequest): void {
  for (const name of PREFERENCES) {
    if ((headers[name]?.length ?? 0) > PREFERENCE_LIMIT) delete headers[name]
  }
}

function setCommonHeaders(request: FastifyRequest, reply: FastifyReply): void {
  reply.headers({
    'x-request-id': request.id,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
}
