import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'

/** The ways in which a socket can keep a client waiting. None of them ends by itself. */
export const stalls: Record<string, (socket: Socket) => void> = {
  'accepts and never reads': (socket) => void socket.pause(),
  'reads and never responds': (socket) => void socket.resume(),
  'sends half of the headers': (socket) => void socket.resume().write('HTTP/1.1 200 OK\r\ncontent-le'),
  'sends one byte of the headers at a time': (socket) => drip(socket.resume(), 'HTTP/1.1 200 OK\r\nx-long: '),
  'sends the headers and five bytes': (socket) => void socket.resume().write(`${headers}{"id"`),
  'sends one byte of the body at a time': (socket) => drip(socket.resume(), headers),
}

const headers = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n'

function drip(socket: Socket, first: string): void {
  socket.write(first)
  const dripping = setInterval(() => socket.write(' '), 20)
  socket.once('close', () => clearInterval(dripping))
}

/** Starts a server that treats each connection as `stall` says, until the test ends. */
export async function startStallingServer(t: TestContext, stall: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket))
    stall(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    port,
    /** Returns the number of open connections. A socket that does not read would not notice its end, so all read from now on. */
    open() {
      for (const socket of sockets) socket.resume()
      return sockets.size
    },
  }
}
