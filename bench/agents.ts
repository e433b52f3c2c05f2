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
 * Lets agents register at once, one at each of `urls`: each opens a connection of its own and sends one request, and none
 * tries again. Plain sockets, so that the load takes as little as possible of the machine that it loads.
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
