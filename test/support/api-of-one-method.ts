import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { TestContext } from 'node:test'

/** Starts an API with one method, which responds to every request with the status that `status` returns for its key. */
export async function startApi(
  t: TestContext,
  status: (key: string | undefined) => number,
  headers: Record<string, string> = {},
) {
  const probes: { readonly key: string | undefined; readonly at: number }[] = []
  const server = createServer((request, response) => {
    const key = request.headers['x-api-key']
    const sent = key === undefined ? undefined : String(key)
    probes.push({ key: sent, at: performance.now() })
    response.writeHead(status(sent), headers).end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { url: `http://127.0.0.1:${address.port}`, probes }
}
