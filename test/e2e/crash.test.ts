import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OperationName } from '../../src/local/options.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { assertInvariants, type Given } from '../invariants.ts'
import { serverEnv, tempDir, testGateway } from '../service.ts'
import { runCli, startServer } from './server-process.ts'

/** Where the process is killed. The last two are on the way of undoing, after an attach that is refused. */
const steps: [operation: OperationName, undoing: boolean][] = [
  ['CreateApiKey', false],
  ['CreateUsagePlanKey', false],
  ['GetUsagePlanKeys', false],
  ['GetApiKeys', true],
  ['DeleteApiKey', true],
]

describe('invariants 2, 3, 4, 6: kill -9 between any two side effects, then a restart', {
  concurrency: 6,
}, () => {
  for (const [operation, undoing] of steps)
    for (const moment of ['arrived', 'effective'] as const)
      for (const keyed of [false, true]) {
        test(`when ${operation} is ${moment}, ${keyed ? 'with' : 'without'} a key`, (t) =>
          crashAt(t, { operation, moment, undoing, keyed }))
      }
})

async function crashAt(
  t: TestContext,
  {
    operation,
    moment,
    undoing,
    keyed,
  }: { operation: OperationName; moment: string; undoing: boolean; keyed: boolean },
): Promise<void> {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const env = serverEnv(gateway, dir)
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const secret = (await runCli(t, ['tokens', 'create', '--label', 'x', '--max-uses', '1'], env)).stdout.trim()
  const headers: Record<string, string> = keyed ? { 'idempotency-key': randomUUID() } : {}
  const register = (url: string) =>
    fetch(`${url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
      body: '{"name":"acme-agent"}',
    })

  const first = await startServer(t, env)
  if (undoing) gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' })
  gateway.onCall = (called, at) => {
    if (called === operation && at === moment) first.child.kill('SIGKILL')
  }
  await assert.rejects(register(first.url), 'the process died before it could answer')
  assert.equal(await first.ended(), 'SIGKILL')
  gateway.onCall = () => undefined
  gateway.faults.clear()
  assert.equal(
    (await store.listRegistrations({ status: 'pending', limit: 10 })).length,
    1,
    'intent before effect',
  )

  const second = await startServer(t, env)
  const given: Given[] = []
  if (keyed) {
    // The client does not give up: it retries as it is told, and gets the key, whoever finishes the work.
    let answer = await register(second.url)
    for (let tries = 0; answer.status !== 201 && tries < 60; tries++) {
      assert.ok([409, 503].includes(answer.status), `${answer.status} ${await answer.text()}`)
      await sleep(Number(answer.headers.get('retry-after')) * 250)
      answer = await register(second.url)
    }
    given.push((await answer.json()) as Given)
  }
  await nothingPending(store)
  await assertInvariants(gateway, store, given)
  if (keyed) return
  assert.equal(gateway.account.keys.size, 0, 'nobody was given this key')
  const retry = await register(second.url)
  assert.equal(retry.status, 201, 'the use was given back')
  await assertInvariants(gateway, store, [(await retry.json()) as Given])
}

async function nothingPending(store: Store): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if ((await store.listRegistrations({ status: 'pending', limit: 1 })).length === 0) return
    await sleep(100)
  }
  assert.fail('a registration is still pending after 30 s')
}

test('invariant 6: what was answered 201 survives kill -9 at once', async (t) => {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const env = serverEnv(gateway, dir)
  const first = await startServer(t, env)
  const secret = (await runCli(t, ['tokens', 'create', '--label', 'x'], env)).stdout.trim()
  const headers = {
    authorization: `Bearer ${secret}`,
    'content-type': 'application/json',
    'idempotency-key': randomUUID(),
  }
  const init = { method: 'POST', headers, body: '{"name":"acme-agent"}' }
  const answer = await fetch(`${first.url}/register`, init)
  first.child.kill('SIGKILL')
  const body = await answer.text()
  await first.ended()
  const second = await startServer(t, env)
  const replay = await fetch(`${second.url}/register`, init)
  assert.equal(await replay.text(), body)
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  await assertInvariants(gateway, store, [JSON.parse(body) as Given])
})

test('recovery adopts a key by itself; the client that comes back later gets it at once', async (t) => {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const env = serverEnv(gateway, dir)
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const secret = (await runCli(t, ['tokens', 'create', '--label', 'x', '--max-uses', '1'], env)).stdout.trim()
  const first = await startServer(t, env)
  gateway.onCall = (operation) => operation === 'CreateUsagePlanKey' && first.child.kill('SIGKILL')
  const headers = {
    authorization: `Bearer ${secret}`,
    'content-type': 'application/json',
    'idempotency-key': randomUUID(),
  }
  const init = { method: 'POST', headers, body: '{"name":"acme-agent"}' }
  await assert.rejects(fetch(`${first.url}/register`, init))
  await first.ended()
  gateway.onCall = () => undefined
  // As if the call that was in flight had never arrived: the key is there and on no plan.
  for (const key of gateway.account.keys.values()) key.planIds.clear()

  const second = await startServer(t, env)
  await nothingPending(store)
  const [adopted] = await store.listRegistrations({ limit: 1 })
  assert.deepEqual([adopted?.status, adopted?.answeredAt], ['active', null])
  const answer = await fetch(`${second.url}/register`, init)
  assert.equal(answer.status, 201)
  assert.equal(answer.headers.get('idempotency-replayed'), 'true')
  await assertInvariants(gateway, store, [(await answer.json()) as Given])
})

test('registrations list, show and reconcile: what a crash left is shown, and ended on demand', async (t) => {
  const gateway = await testGateway(t)
  const env = serverEnv(gateway, tempDir(t))
  const first = await startServer(t, env)
  const secret = (await runCli(t, ['tokens', 'create', '--label', 'x'], env)).stdout.trim()
  gateway.onCall = (operation) => operation === 'CreateUsagePlanKey' && first.child.kill('SIGKILL')
  const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }
  await assert.rejects(
    fetch(`${first.url}/register`, { method: 'POST', headers, body: '{"name":"acme-agent"}' }),
  )
  await first.ended()
  gateway.onCall = () => undefined

  const cli = (...args: string[]) => runCli(t, ['registrations', ...args], env)
  const [pending] = JSON.parse((await cli('list', '--status', 'pending', '--json')).stdout)
  assert.match((await cli('show', pending.id)).stdout, /^status +pending$/m)
  let dry = await cli('reconcile')
  for (let tries = 0; !dry.stdout.includes(pending.id) && tries < 60; tries++) {
    await sleep(250) // The lease of the dead process has to lapse.
    dry = await cli('reconcile')
  }
  assert.match(dry.stdout, RegExp(`^${pending.id} {2}undo: `))
  assert.match(dry.stderr, /Nothing was changed/)
  assert.equal(gateway.account.keys.size, 1)

  const done = await cli('reconcile', '--yes')
  assert.equal(done.code, 0)
  assert.match(done.stdout, /undo \(done\)/)
  assert.equal(gateway.account.keys.size, 0)
  assert.equal((await cli('list', '--status', 'pending', '--json')).stdout, '[]\n')
  assert.match((await cli('show', 'reg_none')).stderr, /there is no registration reg_none/)
})
