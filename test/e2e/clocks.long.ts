import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { FAST_SERVER, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway, unlimitedPolicy } from '../support/service.ts'

const HOUR_MS = 3_600_000

test('what a server with a clock an hour ahead left is taken over at once by one with a right clock', async (t) => {
  const gateway = await testGateway(t)
  const env = serverEnv(gateway, tempDir(t))
  const store = openSqliteStore(env['STORE']?.slice('sqlite:'.length) ?? '')
  t.after(() => store.close())
  const policy = { ...unlimitedPolicy, maxUses: 2 }
  const { secret, token } = await issueBootstrapToken(store, policy, SERVICE, Date.now())
  const register = (url: string, headers: Record<string, string> = {}) =>
    fetch(`${url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
      body: '{"name":"acme-agent"}',
    })
  const keyed = { 'idempotency-key': 'this-request-is-retried' }

  // AWS has not answered yet, so the server does not know that its clock is wrong.
  gateway.faults.order({ operation: 'GetUsagePlan', when: 'before', kind: 'cut', times: 1_000 })
  const ahead = await startServer(t, { ...env, CLOCK_OFFSET: String(HOUR_MS) }, FAST_SERVER)
  const exit = once(ahead.child, 'exit')
  gateway.onCall = (operation) => {
    if (operation === 'CreateApiKey' || operation === 'ImportApiKeys') ahead.child.kill('SIGKILL')
  }
  await Promise.allSettled([register(ahead.url, keyed), register(ahead.url)])
  await exit
  gateway.onCall = () => undefined
  gateway.faults.clear()
  const left = await store.listRegistrations({ status: 'pending', limit: 9 })
  assert.ok(left.length > 0 && left.every(({ createdAt }) => createdAt > Date.now() + HOUR_MS / 2))

  const right = await startServer(t, env, FAST_SERVER)
  const within = async (isDone: () => Promise<boolean>) => {
    for (let tries = 0; tries < 100; tries++) {
      if (await isDone()) return
      await sleep(100)
    }
    assert.fail('not done after 10 s')
  }
  await within(async () => (await register(right.url, keyed)).status === 201)
  await within(async () => (await store.getToken(token.id))?.uses === 1)
  assert.deepEqual(await store.listRegistrations({ status: 'pending', limit: 9 }), [])
})
