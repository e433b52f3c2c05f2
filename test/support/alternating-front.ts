import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { passOn } from './pass-on.ts'

/** Starts a proxy that sends each request to the next of `targets`, which may be filled later, until the test ends. */
export async function startAlternatingFront(t: TestContext, targets: readonly string[]): Promise<string> {
  let next = 0
  const front = http.createServer((incoming, outgoing) => {
    passOn(incoming, outgoing, new URL(incoming.url ?? '/', targets[next++ % targets.length]))
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.after(() => {
    front.closeAllConnections()
    front.close()
  })
  return `http://127.0.0.1:${(front.address() as AddressInfo).port}`
}
