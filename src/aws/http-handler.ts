import { addAbortSignal, type Readable } from 'node:stream'
import { NodeHttpHandler, type NodeHttpHandlerOptions } from '@smithy/node-http-handler'
import type { DateObserver } from '../clock-check.ts'
import { createRoutes, type ProxyVariables, type Route, throughProxy } from '../egress-proxy.ts'

/** The maximum number of sockets to one host, as the SDK has it. */
const MAX_SOCKETS = 50
/** The largest body of a response, in bytes. DynamoDB's largest are 16 MB of items, as JSON. */
const LARGEST_BODY = 32 * 1_024 * 1_024

export interface HttpHandlerOptions {
  /** The time limit for the TCP connection, in milliseconds. */
  readonly connectMs: number
  /** The time limit for one attempt, from the connection to the last byte of the response, in milliseconds. */
  readonly attemptMs: number
  /** The maximum number of sockets to one host; left out: {@link MAX_SOCKETS}. */
  readonly maxSockets?: number
  readonly observeDate?: DateObserver | undefined
  /** Left out: none. */
  readonly proxies?: ProxyVariables | undefined
}

type Handle = NodeHttpHandler['handle']

/** Sends the requests of an SDK client. */
export interface HttpHandler {
  readonly metadata: NodeHttpHandler['metadata']
  handle(request: Parameters<Handle>[0], options?: Parameters<Handle>[1]): ReturnType<Handle>
  destroy(): void
  updateHttpClientConfig(): void
  httpHandlerConfigs(): NodeHttpHandlerOptions
}

/**
 * Creates a handler whose attempts end in time, whatever the socket does: the SDK's own time limit ends with the headers of
 * the response. The handler reads the body, too. An attempt that takes too long rejects with a `TimeoutError`, which the
 * SDK retries, and its socket is closed. Requests take the proxies, see {@link createRoutes}.
 */
export function createHttpHandler({
  connectMs,
  attemptMs,
  maxSockets = MAX_SOCKETS,
  observeDate,
  proxies = {},
}: HttpHandlerOptions): HttpHandler {
  const routeOf = createRoutes(proxies, { maxSockets })
  const handlers = new Map<Route, NodeHttpHandler>()
  function handlerOf(route: Route): NodeHttpHandler {
    const { httpAgent, httpsAgent } = route
    const handler =
      handlers.get(route) ?? new NodeHttpHandler({ httpAgent, httpsAgent, connectionTimeout: connectMs })
    handlers.set(route, handler)
    return handler
  }
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle(request, options) {
      const attempt = new AbortController()
      let isLate = false
      const timer = setTimeout(() => {
        isLate = true
        attempt.abort()
      }, attemptMs)
      const caller = options?.abortSignal as AbortSignal | undefined
      const stop = () => attempt.abort(caller?.reason)
      if (caller?.aborted) stop()
      caller?.addEventListener('abort', stop, { once: true })
      const route = routeOf(request)
      try {
        const sentAt = performance.now()
        const { response } = await handlerOf(route).handle(request, {
          ...options,
          abortSignal: attempt.signal,
        })
        observeDate?.(response.headers['date'], sentAt)
        response.body = await readBody(response.body, attempt.signal)
        return { response }
      } catch (error) {
        throw throughProxy(isLate ? tooLate(attemptMs) : error, route)
      } finally {
        clearTimeout(timer)
        caller?.removeEventListener('abort', stop)
      }
    },
    destroy() {
      for (const handler of handlers.values()) handler.destroy()
    },
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
  }
}

function tooLate(ms: number): Error {
  return Object.assign(new Error(`no complete response within ${ms} ms`), { name: 'TimeoutError' })
}

async function readBody(body: Readable, signal: AbortSignal): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of addAbortSignal(signal, body)) {
    size += chunk.length
    if (size > LARGEST_BODY) throw new Error(`the response is larger than ${LARGEST_BODY} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
