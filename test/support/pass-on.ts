import { type IncomingMessage, request, type ServerResponse } from 'node:http'

/** Passes a request on to `target`, and its response back, as a proxy does. If that fails, the client gets no response. */
export function passOn(incoming: IncomingMessage, outgoing: ServerResponse, target: URL): void {
  const { method, headers } = incoming
  const onward = request(target, { method, headers, agent: false }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(outgoing)
  })
  onward.once('error', () => outgoing.destroy())
  incoming.pipe(onward)
}
