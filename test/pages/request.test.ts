import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'

const { mint } = await import(join(import.meta.dirname, '../../src/pages/assets/request.js'))

test('the form keeps its Idempotency-Key after the response of a firewall, and forgets it after an error of the service', async (t) => {
  const final = '{"code":"token_exhausted","retryable":false,"title":"used up"}'
  const bodies = ['<html>Request blocked</html>', '{"message":"Forbidden"}', final, final]
  const keys: unknown[] = []
  const front = createServer((incoming, outgoing) => {
    outgoing.writeHead(403).end(bodies[keys.length])
    keys.push(incoming.headers['idempotency-key'])
  }).listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.after(() => front.close())
  const url = `http://127.0.0.1:${(front.address() as AddressInfo).port}/register`

  const results = []
  for (const _ of bodies) results.push(await mint(url, 't', { name: 'n' }, () => undefined))
  assert.deepEqual(
    results.map(({ problem, mayExist }) => [problem.code, mayExist === true]),
    [
      [undefined, true],
      [undefined, true],
      ['token_exhausted', false],
      ['token_exhausted', false],
    ],
  )
  assert.equal(new Set(keys.slice(0, 3)).size, 1)
  assert.notEqual(keys[3], keys[2])
})
