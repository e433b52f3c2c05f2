import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { credentialSchema } from '../../src/routes/register-schema.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { assertInvariants } from '../support/invariants.ts'
import { FAST_SERVER, runCli, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

/** Starts a server whose API rejects every key, and a registration that waits. Resolves after its key is attached. */
async function waiting(
  t: TestContext,
  { main = FAST_SERVER, headers = {} }: { main?: string; headers?: Record<string, string> } = {},
) {
  const gateway = await testGateway(t, { propagationMs: 60_000 })
  const dir = tempDir(t)
  const env = { ...serverEnv(gateway, dir), API_PROBE_PATH: '/probe' }
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const secret = (await runCli(t, ['tokens', 'create', '--label', 'x', '--max-uses', '1'], env)).stdout.trim()
  const register = (url: string, wait: number) =>
    fetch(`${url}/register`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${secret}`,
        'content-type': 'application/json',
        prefer: `wait=${wait}`,
        ...headers,
      },
      body: '{"name":"acme-agent"}',
    })
  const server = await startServer(t, env, main)
  const answer = register(server.url, 20)
  while (![...gateway.account.keys.values()].some(({ planIds }) => planIds.size > 0)) await sleep(20)
  await sleep(300)
  return { gateway, env, store, server, register, answer }
}

test('SIGTERM ends the wait: the key is returned at once, with ready false', async (t) => {
  const { server, answer, gateway, store } = await waiting(t, { main: 'src/start.js' })
  const stoppedAt = performance.now()
  server.child.kill('SIGTERM')
  const credential = credentialSchema.parse(await (await answer).json())
  assert.equal(credential.ready, false)
  assert.equal(await server.ended(), 0)
  const ms = performance.now() - stoppedAt
  assert.ok(ms < 3_000, `${ms} ms`)
  await assertInvariants(gateway, store, [credential])
})

test('invariant 2: kill -9 while a registration waits for its key to work leaves no key and costs no use', async (t) => {
  const { server, answer, gateway, env, store, register } = await waiting(t)
  server.child.kill('SIGKILL')
  await assert.rejects(answer)
  const second = await startServer(t, env, FAST_SERVER)
  while ((await store.listRegistrations({ status: 'pending', limit: 1 })).length > 0) await sleep(50)
  assert.equal(gateway.account.keys.size, 0)
  const again = await register(second.url, 1)
  await assertInvariants(gateway, store, [credentialSchema.parse(await again.json())])
})

test('invariant 4: after kill -9 while a registration waits, its retry gets the key', async (t) => {
  const headers = { 'idempotency-key': randomUUID() }
  const { server, answer, gateway, env, store, register } = await waiting(t, { headers })
  const [made] = gateway.account.keys.values()
  server.child.kill('SIGKILL')
  await assert.rejects(answer)
  const second = await startServer(t, env, FAST_SERVER)
  let retried = await register(second.url, 1)
  while (retried.status === 409) {
    await sleep(100)
    retried = await register(second.url, 1)
  }
  const credential = credentialSchema.parse(await retried.json())
  assert.deepEqual([credential.api_key_id, credential.ready], [made?.id, false])
  await assertInvariants(gateway, store, [credential])
})
