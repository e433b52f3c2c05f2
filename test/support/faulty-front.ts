import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'

/** `busy`: the response is a 503 with `Retry-After: 1`; `lost`: the service responds, but the connection breaks. */
export type Fault = 'busy' | 'lost'

export interface Seen {
  readonly at: number
  readonly key: string | undefined
  /** `true` if the response was a replay; `undefined` if the request did not reach the service. */
  readonly isReplayed?: boolean
}

const busy = JSON.stringify({
  type: 'about:blank',
  title: 'Busy',
  status: 503,
  code: 'overloaded',
  retryable: true,
})
const passedOn = ['authorization', 'content-type', 'accept', 'idempotency-key']

/** Starts a proxy in front of a service, until the test ends. Each of the first requests gets one of the faults. */
export async function startFaultyFront(t: TestContext, serviceUrl: string, faults: readonly Fault[]) {
  const seen: Seen[] = []
  const front = createServer(async (incoming, outgoing) => {
    const fault = faults[seen.length]
    const { url = '/', method = 'GET', headers } = incoming
    const index = seen.push({ at: performance.now(), key: headers['idempotency-key']?.toString() }) - 1
    const body = await text(incoming)
    if (fault === 'busy') {
      outgoing.writeHead(503, { 'content-type': 'application/problem+json', 'retry-after': '1' }).end(busy)
      return
    }
    const answer = await fetch(`${serviceUrl}${url}`, {
      method,
      headers: passedOn.flatMap((name) => (headers[name] ? [[name, String(headers[name])]] : [])),
      ...(body === '' ? {} : { body }),
    })
    const answered = await answer.text()
    const isReplayed = answer.headers.get('idempotency-replayed') === 'true'
    seen[index] = { ...seen[index], isReplayed } as Seen
    if (fault === 'lost') return void incoming.socket.destroy()
    const type = answer.headers.get('content-type') ?? ''
    outgoing.writeHead(answer.status, { 'content-type': type }).end(answered)
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.after(() => {
    front.closeAllConnections()
    front.close()
  })
  return { url: `http://127.0.0.1:${(front.address() as AddressInfo).port}`, seen }
}
