import { once } from 'node:events'
import { createServer, type IncomingMessage, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { TestContext } from 'node:test'

/** What a proxy does with requests. `407` and `403`: refuses them; `stalls`: never answers. */
type Behaviour = 'forwards' | 403 | 407 | 'stalls'

export interface ForwardProxy {
  /** Its URL, without credentials. */
  readonly url: string
  readonly host: string
  /** The requests so far: `CONNECT host:port`, or the method and the absolute URL. */
  readonly requests: string[]
  /** The values of `Proxy-Authorization` so far. */
  readonly authorizations: (string | undefined)[]
  behaviour: Behaviour
}

/**
 * Starts an HTTP proxy, until the test ends. It connects to 127.0.0.1 whatever the name of the host: a request for a name that
 * does not exist arrives only through it.
 */
export async function startForwardProxy(t: TestContext): Promise<ForwardProxy> {
  const requests: string[] = []
  const authorizations: (string | undefined)[] = []
  const sockets = new Set<{ destroy(): unknown }>()
  const server = createServer((incoming, outgoing) => {
    note(incoming)
    if (proxy.behaviour === 'stalls') return
    if (proxy.behaviour !== 'forwards') return void outgoing.writeHead(proxy.behaviour).end()
    const { port, pathname, search } = new URL(incoming.url ?? '')
    const { method, headers } = incoming
    const onward = request(
      { host: '127.0.0.1', port, path: pathname + search, method, headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(outgoing)
      },
    )
    onward.on('error', () => outgoing.destroy())
    incoming.pipe(onward)
  })
  server.on('connect', (incoming, socket, head) => {
    note(incoming)
    socket.on('error', () => undefined)
    sockets.add(socket)
    if (proxy.behaviour === 'stalls') return
    if (proxy.behaviour !== 'forwards') return void socket.end(`HTTP/1.1 ${proxy.behaviour} Refused\r\n\r\n`)
    const onward = connect(Number(incoming.url?.split(':').at(-1)), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      onward.write(head)
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => socket.destroy())
    socket.on('close', () => onward.destroy())
  })
  function note(incoming: IncomingMessage): void {
    requests.push(`${incoming.method} ${incoming.url}`)
    authorizations.push(incoming.headers['proxy-authorization'])
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.closeAllConnections()
    server.close()
  })
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const proxy: ForwardProxy = { url: `http://${host}`, host, requests, authorizations, behaviour: 'forwards' }
  return proxy
}
