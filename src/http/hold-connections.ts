import type { Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'

/** The longest time for which new connections are held (ms), unless there are more than can be read at once. */
const LONGEST_HOLD_MS = 10
/** The most connections whose requests begin to be read in one turn of the event loop. */
const READ_AT_ONCE = 50
/** While more are held, others are accepted for up to so many times as long as the reading before took. */
const ACCEPT_FACTOR = 4
/** The longest time for which a stop accepts connections that were established before it (ms). */
const LONGEST_DRAIN_MS = 1_000

/**
 * Lets the requests of connections that arrive together be read together, so that they share commits and calls. Node.js accepts
 * one connection in each turn of the event loop. If it served a request in that turn too, which takes a hundred times as long, the
 * next connection would wait for it, and be served alone as well; of thousands, the operating system would drop those that its
 * queue has no room for. So no connection is read before a turn brings no other, or {@link LONGEST_HOLD_MS} are over, and between
 * {@link READ_AT_ONCE} and the next ones others are accepted. A connection that comes alone waits for one turn.
 *
 * A stop first reads all that is held, and accepts what the operating system holds, which would be reset.
 */
export function holdConnections(app: FastifyInstance): void {
  const { server } = app
  // Those of Node.js itself, which parse requests.
  const serve = server.listeners('connection')
  server.removeAllListeners('connection')
  // An option of net.createServer() that http.createServer() does not pass on.
  Object.assign(server, { pauseOnConnect: true })

  /** In the order of their arrival. */
  const held: Socket[] = []
  let accepted = 0

  function release(most: number): void {
    for (const socket of held.splice(0, most)) {
      for (const listener of serve) Reflect.apply(listener, server, [socket])
      socket.resume()
    }
  }

  /** Releases the first when a turn has brought no connection. @param before how many were held a turn ago */
  function releaseAfterTurn(before: number, until: number): void {
    setImmediate(() => {
      const { length } = held
      const now = performance.now()
      if (length !== before && now < until) return releaseAfterTurn(length, until)
      release(READ_AT_ONCE)
      if (held.length > 0) releaseMoreAfterTurn(now)
    })
  }

  function releaseMoreAfterTurn(since: number): void {
    setImmediate(() => {
      const now = performance.now()
      releaseAfterTurn(held.length, now + Math.max(LONGEST_HOLD_MS, ACCEPT_FACTOR * (now - since)))
    })
  }

  server.on('connection', (socket) => {
    accepted += 1
    held.push(socket)
    if (held.length === 1) releaseAfterTurn(0, performance.now() + LONGEST_HOLD_MS)
  })
  app.addHook('preClose', async () => {
    const until = performance.now() + LONGEST_DRAIN_MS
    let before: number
    do {
      before = accepted
      release(held.length)
      // Released in one turn, they are read in the next one. Node.js closes those of which it has read nothing.
      await nextTurn()
      await nextTurn()
    } while (accepted !== before && performance.now() < until)
  })
}
