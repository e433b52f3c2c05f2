import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { operationNames } from '../../../emulator/operation-names.ts'
import { issueBootstrapToken } from '../../../src/auth/bootstrap-token.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import { fastTiming } from '../../support/invariants.ts'
import { FAST_SERVER, startServer } from '../../support/server-process.ts'
import type { Registered } from '../../support/service.ts'
import { serverEnv, tempDir, testGateway, unlimitedPolicy } from '../../support/service.ts'

test('50 agents at once get keys from the pool that open the API with their first request, while AWS does not respond', async (t) => {
  // Three accepted probes span more than the time in which the API accepts some requests and refuses others.
  const gateway = await testGateway(t, { propagationMs: 500, flickerMs: 2 * fastTiming.poolProbe })
  const dir = tempDir(t)
  const env = { ...serverEnv(gateway, dir), POOL: 'gold:50', API_PROBE_PATH: '/probe' }
  const server = await startServer(t, env, FAST_SERVER)
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const { secret } = await issueBootstrapToken(
    store,
    { ...unlimitedPolicy, plans: ['gold'] },
    SERVICE,
    Date.now(),
  )
  while ((await store.listPoolKeys()).filter(({ state }) => state === 'ready').length < 50) await sleep(50)

  // From here on no call to AWS has a response.
  for (const operation of operationNames)
    gateway.faults.order({ operation, when: 'before', kind: 'hang', times: 10_000 })
  const agents = Array.from({ length: 50 }, async (_, n) => {
    const answer = await fetch(`${server.url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name: `agent-${n}`, plan: 'gold' }),
    })
    assert.equal(answer.status, 201)
    const { api_key_value, ready } = (await answer.json()) as Registered & { ready?: boolean }
    const headers = { 'x-api-key': api_key_value }
    const { status } = await fetch(`${gateway.url}/execute-api/demo/prod/hello`, { headers })
    return { api_key_value, ready, status }
  })
  const outcomes = await Promise.all(agents)
  assert.ok(outcomes.every(({ ready, status }) => ready === true && status === 200))
  assert.equal(
    new Set(outcomes.map(({ api_key_value }) => api_key_value)).size,
    50,
    'no two agents share a key',
  )
})
