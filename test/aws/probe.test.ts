import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createProbe } from '../../src/aws/probe.ts'
import { startApi } from '../support/api-of-one-method.ts'
import { stalls, startStallingServer } from '../support/stalling-server.ts'

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
    const answer = await createProbe(api.url, {})('a'.repeat(40), AbortSignal.timeout(2_000))
    assert.deepEqual([answer.verdict, answer.status], [verdict, status])
    assert.equal(api.probes[0]?.key, 'a'.repeat(40))
  })

test('for an API that cannot be reached the verdict is unclear, with the error', async () => {
  const answer = await createProbe('http://127.0.0.1:1', {})(undefined, AbortSignal.timeout(2_000))
  assert.equal(answer.verdict, 'unclear')
  assert.ok(answer.error instanceof Error)
})

for (const [name, stall] of Object.entries(stalls))
  test(`a probe ends with its signal, and closes its connection, if the API ${name}`, async (t) => {
    const server = await startStallingServer(t, stall)
    const startedAt = performance.now()
    await createProbe(`http://127.0.0.1:${server.port}`, {})('a'.repeat(40), AbortSignal.timeout(200))
    assert.ok(performance.now() - startedAt < 3_000, `${performance.now() - startedAt} ms`)
    while (server.open() > 0) await sleep(10)
  })
