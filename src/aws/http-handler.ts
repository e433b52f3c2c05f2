import { addAbortSignal, type Readable } from 'node:stream'
import { NodeHttpHandler, type NodeHttpHandlerOptions } from '@smithy/node-http-handler'
import type { DateObserver } from '../clock-check.ts'

/** The largest body of a response, in bytes. DynamoDB's largest are 16 MB of items, as JSON. */
const LARGEST_BODY = 32 * 1_024 * 1_024

export interface HttpHandlerOptions {
  /** The time limit for the TCP connection, in milliseconds. */
  readonly connectMs: number
  /** The time limit for one attempt, from the connection to the last byte of the response, in milliseconds. */
  readonly attemptMs: number
  /** The maximum number of sockets to one host; left out: the SDK's. */
  readonly maxSockets?: number
  readonly observeDate?: DateObserver | undefined
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
 * SDK retries, and its socket is closed.
 */
export function createHttpHandler({
  connectMs,
  attemptMs,
  maxSockets,
  observeDate,
}: HttpHandlerOptions): HttpHandler {
  const agent = maxSockets === undefined ? {} : { httpAgent: { maxSockets }, httpsAgent: { maxSockets } }
  const http = new NodeHttpHandler({ ...agent, connectionTimeout: connectMs })
  return {
    metadata: http.metadata,
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
      try {
        const sentAt = performance.now()
        const { response } = await http.handle(request, { ...options, abortSignal: attempt.signal })
        observeDate?.(response.headers['date'], sentAt)
        response.body = await readBody(response.body, attempt.signal)
        return { response }
      } catch (error) {
        if (!isLate) throw error
        throw Object.assign(new Error(`no complete response within ${attemptMs} ms`), {
          name: 'TimeoutError',
        })
      } finally {
        clearTimeout(timer)
        caller?.removeEventListener('abort', stop)
      }
    },
    destroy: () => http.destroy(),
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
  }
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
