import { connect } from 'node:net'

/** What one agent saw. */
export interface Outcome {
  /** Milliseconds from the moment when all were let loose. */
  readonly ms: number
  /** 0: no answer. */
  readonly status: number
  /** The key it was given. */
  readonly key: string | undefined
}

/** An agent that has no answer by then has given up (ms). */
const PATIENCE_MS = 60_000

/**
 * Lets `count` agents register at once: each opens a connection of its own and sends one request, and none tries
 * again. Plain sockets, so that the load takes as little as possible of the machine that it loads.
 */
export async function letLoose(url: string, secret: string, count: number): Promise<Outcome[]> {
  const { hostname, port } = new URL(url)
  const body = '{"name":"bench-agent"}'
  const request =
    `POST /register HTTP/1.1\r\nHost: ${hostname}:${port}\r\nAuthorization: Bearer ${secret}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
  const startedAt = performance.now()
  return Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<Outcome>((resolve) => {
          let text = ''
          const done = () => {
            const status = Number(text.match(/^HTTP\/1\.1 (\d{3})/)?.[1] ?? 0)
            const key = text.match(/"api_key_value":"([^"]+)"/)?.[1]
            resolve({ ms: performance.now() - startedAt, status, key })
          }
          const socket = connect({ host: hostname, port: Number(port) }, () => socket.write(request))
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
