import { connect } from 'node:net'

export interface Load {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** The number of connections. Each sends its next request when it has the response to the previous one. */
  readonly connections: number
  readonly seconds: number
}

/** The number of responses by status. */
export type Counts = Map<number, number>

/**
 * POSTs the same request over keep-alive connections, as fast as responses arrive. Plain sockets keep the load
 * generator's share of the machine small.
 */
export async function hammer({ url, headers, body, connections, seconds }: Load): Promise<Counts> {
  const { host, hostname, port, pathname } = new URL(url)
  const fields = Object.entries({ host, ...headers, 'content-length': String(Buffer.byteLength(body)) })
  const head = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const request = `POST ${pathname} HTTP/1.1\r\n${head}\r\n${body}`
  const counts: Counts = new Map()
  const endsAt = performance.now() + seconds * 1_000
  const one = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true }, () =>
        socket.write(request),
      )
      socket.setEncoding('latin1')
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk
        const headEnd = text.indexOf('\r\n\r\n')
        if (headEnd < 0) return
        const length = Number(text.slice(0, headEnd).match(/content-length: (\d+)/i)?.[1])
        if (!(text.length >= headEnd + 4 + length)) return
        const status = Number(text.slice(9, 12))
        counts.set(status, (counts.get(status) ?? 0) + 1)
        text = ''
        if (performance.now() < endsAt) socket.write(request)
        else socket.end()
      })
      socket.on('error', reject)
      socket.on('close', () => resolve())
    })
  await Promise.all(Array.from({ length: connections }, one))
  return counts
}
