import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply } from 'fastify'

/** The code with which Node.js reports a request that takes too long to arrive. */
const TIMEOUT = 'ERR_HTTP_REQUEST_TIMEOUT'

/**
 * Lets a stop wait for responses, but not for clients that do not finish their requests: from the stop on, a connection has
 * `timeoutMs` to do so. Then it is treated as Node.js treats requests that take too long, which it does no more once its server is closing.
 * @param owed the responses that each connection is still waiting for
 */
export function endUnfinishedRequests(
  app: FastifyInstance,
  owed: WeakMap<Socket, ReadonlySet<FastifyReply>>,
  timeoutMs: number,
): void {
  const { server } = app
  const open = new Set<Socket>()
  server.on('connection', (socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  app.addHook('preClose', async () => {
    const timer = setInterval(() => {
      const unfinished = [...open].filter((socket) =>
        [...(owed.get(socket) ?? [])].every(({ request }) => !request.raw.complete),
      )
      for (const socket of unfinished)
        server.emit('clientError', Object.assign(new Error('request timeout'), { code: TIMEOUT }), socket)
    }, timeoutMs)
    server.once('close', () => clearInterval(timer))
  })
}
