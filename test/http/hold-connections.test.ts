import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createHttpServer } from '../../src/http/server.ts'
import { createLogger } from '../../src/log.ts'

const REQUEST = 'GET / HTTP/1.1\r\nhost: keys.example.com\r\nconnection: close\r\n\r\n'

/**
 * Starts a server that notes how many requests it reads in each turn of the event loop.
 * @param onRequest called with the number of the connections that were accepted so far
 */
async function startServer(t: TestContext, onRequest = (_accepted: number): void => undefined) {
  const app = createHttpServer(
    { publicUrl: 'http://127.0.0.1', gatewayStage: null, corsOrigins: [] },
    createLogger('silent'),
  )
  const turns: number[] = []
  let isNewTurn = true
  let accepted = 0
  app.server.on('connection', () => {
    accepted += 1
  })
  app.addHook('onRequest', async () => {
    if (isNewTurn) {
      isNewTurn = false
      turns.push(0)
      setImmediate(() => {
        isNewTurn = true
      })
    }
    turns.push((turns.pop() ?? 0) + 1)
    onRequest(accepted)
  })
  app.get('/', async () => 'served')
  const { hostname, port } = new URL(await app.listen({ host: '127.0.0.1', port: 0, backlog: 1_024 }))
  t.after(() => app.close())
  const open = () => connect({ host: hostname, port: Number(port) })
  return { app, turns, open }
}

async function answerOf(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  await once(socket, 'close')
  return text
}

test('requests of connections that come together are read together', async (t) => {
  const { turns, open } = await startServer(t)
  const answers = Array.from({ length: 50 }, () => {
    const socket = open()
    socket.write(REQUEST)
    return answerOf(socket)
  })
  for (const answer of await Promise.all(answers)) assert.match(answer, /^HTTP\/1\.1 200 .*served$/s)
  // Without this, Node.js would read one in each of 50 turns.
  assert.ok(turns.length < 10, `read in turns: ${turns}`)
})

test('of many connections a few are read at once, and others are accepted before more are read', async (t) => {
  const acceptedBefore: number[] = []
  const { turns, open } = await startServer(t, (accepted) => {
    acceptedBefore.push(accepted)
    const end = performance.now() + 1
    while (performance.now() < end); // Serving a request takes a while.
  })
  const answers = Array.from({ length: 1_000 }, () => {
    const socket = open()
    socket.write(REQUEST)
    return answerOf(socket)
  })
  for (const answer of await Promise.all(answers)) assert.match(answer, /^HTTP\/1\.1 200 .*served$/s)
  assert.ok(Math.max(...turns) <= 50, `read in turns: ${turns}`)
  // 150 requests take 150 ms, in which a new connection would wait in the queue of the operating system.
  assert.equal(acceptedBefore[150], 1_000)
})

test('connections that keep coming do not delay the first', async (t) => {
  const { open } = await startServer(t)
  const first = open()
  first.write(REQUEST)
  let isAnswered = false
  const answer = answerOf(first).then((text) => {
    isAnswered = true
    return text
  })
  const others: Socket[] = []
  const end = Date.now() + 5_000
  while (!isAnswered && Date.now() < end) {
    others.push(open().on('error', () => undefined))
    await turn()
  }
  for (const other of others) other.destroy()
  assert.match(await answer, /served$/)
  assert.ok(Date.now() < end)
})

test('a client that hangs up as its connection is held does no harm', async (t) => {
  const { open } = await startServer(t)
  for (let n = 0; n < 20; n++) {
    const socket = open()
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    if (n % 2 === 0) socket.resetAndDestroy()
    else socket.end()
  }
  const socket = open()
  socket.write(REQUEST)
  assert.match(await answerOf(socket), /served$/)
})

test('a stop answers the requests of all connections that were made before it', async (t) => {
  const { app, open } = await startServer(t)
  const accepted = once(app.server, 'connection')
  const answers = Array.from({ length: 500 }, () => {
    const socket = open()
    socket.write(REQUEST)
    return answerOf(socket)
  })
  await accepted
  await app.close()
  for (const answer of await Promise.all(answers)) assert.match(answer, /^HTTP\/1\.1 \d{3} /)
})

test('a connection without a request does not delay the stop', async (t) => {
  const { app, open } = await startServer(t)
  const sockets = Array.from({ length: 5 }, () => open().on('error', () => undefined))
  const accepted = once(app.server, 'connection')
  await accepted
  const since = performance.now()
  await app.close()
  assert.ok(performance.now() - since < 2_000)
  for (const socket of sockets) socket.destroy()
})
