import { connect } from 'node:net'

/** A text that was received on a connection of its own. */
export interface Exchange {
  /** The times of the first byte that was sent and of the end, in milliseconds on the clock of `performance.now()`. */
  readonly sentAt: number
  readonly endedAt: number
  /** All that was received: empty if there was no response. */
  readonly text: string
}

/** A client gives up after this time without a response (ms). */
const PATIENCE_MS = 60_000

/** Sends a request over its own plain socket, which keeps the load generator's share of the machine small. Never rejects. */
export function exchange({ hostname, port }: URL, request: string): Promise<Exchange> {
  return new Promise((resolve) => {
    let text = ''
    let sentAt = performance.now()
    const socket = connect({ host: hostname, port: Number(port) }, () => {
      sentAt = performance.now()
      socket.write(request)
    })
    socket.setEncoding('utf8')
    socket.setTimeout(PATIENCE_MS, () => socket.destroy())
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve({ sentAt, endedAt: performance.now(), text }))
  })
}
