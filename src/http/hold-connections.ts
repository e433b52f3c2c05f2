import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'

/** The longest time for which a new connection is held (ms). */
const LONGEST_HOLD_MS = 10

/**
 * Lets the requests of connections that arrive together be read together, so that they share commits and calls. Node.js accepts
 * one connection in each turn of the event loop. If it served a request in that turn too, which takes a hundred times as long, the
 * next connection would wait for it, and be served alone as well. So no connection is read before a turn brings no other, or
 * {@link LONGEST_HOLD_MS} are over. A connection that comes alone waits for one turn.
 */
export function holdConnections(app: FastifyInstance): void {
  const { server } = app
  // Those of Node.js itself, which parse requests.
  const serve = server.listeners('connection')
  server.removeAllListeners('connection')
  // An option of net.createServer() that http.createServer() does not pass on.
  Object.assign(server, { pauseOnConnect: true })

  let held: Socket[] = []
  let closing = false

  function release(): void {
    const sockets = held
    held = []
    for (const socket of sockets) {
      for (const listener of serve) Reflect.apply(listener, server, [socket])
      socket.resume()
    }
  }

  /** @param before how many were held a turn ago */
  function releaseAfterTurn(before: number, since: number): void {
    setImmediate(() => {
      const { length } = held
      if (length === before || performance.now() - since > LONGEST_HOLD_MS) release()
      else releaseAfterTurn(length, since)
    })
  }

  server.on('connection', (socket) => {
    held.push(socket)
    if (closing) release()
    else if (held.length === 1) releaseAfterTurn(0, performance.now())
  })
  // Node.js closes the idle connections that it knows.
  app.addHook('preClose', async () => {
    closing = true
    release()
  })
}
