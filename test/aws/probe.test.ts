import assert from 'node:assert/strict'
import { test } from 'node:test'
import { probe } from '../../src/aws/probe.ts'
import { startApi } from '../support/api-of-one-method.ts'

for (const [status, verdict] of [
  [200, 'accepted'],
  [204, 'accepted'],
  [302, 'unclear'],
  [404, 'accepted'],
  [401, 'rejected'],
  [403, 'rejected'],
  [429, 'unclear'],
  [502, 'unclear'],
] as const)
  test(`status ${status} in response to a key means: ${verdict}`, async (t) => {
    const api = await startApi(t, () => status, status === 302 ? { location: 'http://127.0.0.1:1/' } : {})
    const answer = await probe(api.url, 'a'.repeat(40), AbortSignal.timeout(2_000))
    assert.deepEqual([answer.verdict, answer.status], [verdict, status])
    assert.equal(api.probes[0]?.key, 'a'.repeat(40))
  })

test('for an API that cannot be reached the verdict is unclear, with the error', async () => {
  const answer = await probe('http://127.0.0.1:1', undefined, AbortSignal.timeout(2_000))
  assert.equal(answer.verdict, 'unclear')
  assert.ok(answer.error instanceof Error)
})
