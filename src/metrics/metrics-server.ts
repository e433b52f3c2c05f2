import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { PrometheusMeter } from './prometheus-meter.ts'

/** The time limits of a scrape: for its head, and until the answer is sent (ms). */
const HEAD_MS = 5_000
const SEND_MS = 10_000
/** More than the Prometheus servers of any installation; further connections are refused. */
const MOST_CONNECTIONS = 20

export interface MetricsServer {
  /** The URL of the metrics. */
  readonly url: string
  close(): Promise<void>
}

/**
 * Serves the metrics of a process at `/metrics`, and nothing else, on a port of their own.
 * @param sendMs the time limit for sending an answer
 * @throws Error as `listen` does
 */
export async function serveMetrics(
  meter: Pick<PrometheusMeter, 'contentType' | 'render'>,
  { host, port }: { readonly host: string; readonly port: number },
  sendMs = SEND_MS,
): Promise<MetricsServer> {
  let rendering: Promise<string> | undefined

  /** Simultaneous scrapes share one rendering. */
  function render(): Promise<string> {
    rendering ??= meter.render().finally(() => {
      rendering = undefined
    })
    return rendering
  }

  const answer: RequestListener = async (request, response) => {
    const { method = '', url = '', socket } = request
    // A client that does not read its answer would hold one of the connections.
    const sending = setTimeout(() => socket.destroy(), sendMs).unref()
    response.once('close', () => clearTimeout(sending))
    const end = (status: number, body: string, headers: Record<string, string> = {}) =>
      response
        .writeHead(status, {
          'content-type': 'text/plain; charset=utf-8',
          'content-length': Buffer.byteLength(body),
          'cache-control': 'no-store',
          'x-content-type-options': 'nosniff',
          ...headers,
        })
        .end(method === 'HEAD' ? undefined : body)
    if (url.split('?', 1)[0] !== '/metrics') end(404, 'The metrics are at /metrics.\n')
    else if (method !== 'GET' && method !== 'HEAD') end(405, 'Use GET.\n', { allow: 'GET, HEAD' })
    else
      await render().then(
        (text) => end(200, text, { 'content-type': meter.contentType }),
        () => end(500, 'The metrics cannot be collected.\n'),
      )
  }

  const server = createServer(
    { headersTimeout: HEAD_MS, requestTimeout: HEAD_MS, connectionsCheckingInterval: HEAD_MS },
    answer,
  )
  server.maxConnections = MOST_CONNECTIONS
  // Bodies are not read, and answers to pipelined requests would pile up in memory.
  server.maxRequestsPerSocket = 1
  server.listen({ host, port })
  await once(server, 'listening')
  const { address, port: actual, family } = server.address() as AddressInfo
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${actual}/metrics`,
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}
