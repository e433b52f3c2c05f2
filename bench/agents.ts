import { connect } from 'node:net'

/** The result of one agent. */
export interface Outcome {
  /** Milliseconds since all agents were started. */
  readonly ms: number
  /** 0: no response. */
  readonly status: number
  /** The value of the key that it received. */
  readonly key: string | undefined
}

/** An agent gives up after this time without a response (ms). */
const PATIENCE_MS = 60_000

/**
 * Registers agents at the same time, one at each of `urls`. Each opens its own connection and sends one request, without
 * retries. Plain sockets keep the load generator's share of the machine small.
 */
export async function letLoose(urls: readonly string[], secret: string): Promise<Outcome[]> {
  const body = '{"name":"bench-agent"}'
  const requestTo = ({ host }: URL) =>
    `POST /register HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${secret}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
  const startedAt = performance.now()
  return Promise.all(
    urls.map(
      (url) =>
        new Promise<Outcome>((resolve) => {
          const target = new URL(url)
          let text = ''
          const done = () => {
            const status = Number(text.match(/^HTTP\/1\.1 (\d{3})/)?.[1] ?? 0)
            const key = text.match(/"api_key_value":"([^"]+)"/)?.[1]
            resolve({ ms: performance.now() - startedAt, status, key })
          }
          const socket = connect({ host: target.hostname, port: Number(target.port) }, () =>
            socket.write(requestTo(target)),
          )
          socket.setEncoding('utf8')
          socket.setTimeout(PATIENCE_MS, () => socket.destroy())
          socket.on('data', (chunk) => {
            text += chunk
          })
          socket.on('error', () => undefined)
          socket.on('close', done)
        }),
    ),
  )
}
