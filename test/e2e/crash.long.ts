import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultOrder } from '../../emulator/faults.ts'
import type { OperationName } from '../../emulator/operation-names.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { startIssuer, type TestIssuer } from '../support/identity/issuer.ts'
import { assertInvariants, type ReceivedCredential } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import { runCli, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

interface Crash {
  readonly agents: number
  readonly operation: OperationName
  readonly moment: 'arrived' | 'effective'
  /** The fault that makes the process undo, if it is killed during the undo. */
  readonly undoing?: FaultOrder | undefined
  readonly caller: Caller
}

/** A bootstrap token without or with an idempotency key, or an identity token that can be used once, with one. */
type Caller = 'without a key' | 'with a key' | 'with an identity token'

const attachDenied: FaultOrder = { operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' }
const lookDenied: FaultOrder = { operation: 'GetUsagePlanKeys', when: 'before', kind: 'denied', times: 9 }

/** One registration, minted by two calls; and several, minted by a bulk import. */
const steps: [agents: number, operation: OperationName, undoing?: FaultOrder][] = [
  [1, 'CreateApiKey'],
  [1, 'CreateUsagePlanKey'],
  [1, 'GetApiKeys', attachDenied],
  [1, 'DeleteApiKey', attachDenied],
  [5, 'ImportApiKeys'],
  [5, 'GetUsagePlanKeys'],
  [5, 'GetApiKeys', lookDenied],
  [5, 'DeleteApiKey', lookDenied],
]

describe('invariants 2, 3, 4, 6: kill -9 between any two side effects, then a restart', {
  concurrency: 6,
}, () => {
  for (const [agents, operation, undoing] of steps)
    for (const moment of ['arrived', 'effective'] as const)
      for (const caller of ['without a key', 'with a key', 'with an identity token'] as const) {
        // For an identity token, where a key may exist, and where it is gone.
        const differs =
          moment === 'effective' && ['CreateApiKey', 'ImportApiKeys', 'DeleteApiKey'].includes(operation)
        if (caller === 'with an identity token' && !differs) continue
        test(`${agents} at once, when ${operation} is ${moment}, ${caller}`, (t) =>
          crashAt(t, { agents, operation, moment, undoing, caller }))
      }
})

/** Lets an issuer's callers have as many keys as there are agents. */
function trustFile(dir: string, issuer: TestIssuer, agents: number): string {
  const path = join(dir, 'trust.yaml')
  const grant = { key_ttl: '24h', max_live: agents, on_repeat: 'refuse' }
  const trust = {
    issuers: { ci: { kind: 'oidc', issuer: issuer.url, algorithms: ['ES256'], single_use: true } },
    rules: [{ id: 'ci', issuer: 'ci', match: { sub: 'caller' }, grant }],
  }
  writeFileSync(path, JSON.stringify(trust))
  return path
}

async function crashAt(t: TestContext, { agents, operation, moment, undoing, caller }: Crash): Promise<void> {
  const keyed = caller !== 'without a key'
  const isFederated = caller === 'with an identity token'
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const issuer = await startIssuer(t)
  const env = {
    ...serverEnv(gateway, dir),
    MINT_MODE: agents === 1 ? 'auto' : 'bulk',
    TRUST_FILE: trustFile(dir, issuer, agents),
    PUBLIC_URL: 'http://localhost:3000',
  }
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const created = ['tokens', 'create', '--label', 'x', '--max-uses', String(agents)]
  const secret = (await runCli(t, created, env)).stdout.trim()
  const registrants = Array.from({ length: agents }, (_, i) => {
    const key = randomUUID()
    const credential = isFederated ? issuer.sign() : secret
    return (url: string, fresh?: { 'idempotency-key': string }) =>
      fetch(`${url}/register`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${credential}`,
          'content-type': 'application/json',
          ...(keyed ? { 'idempotency-key': key } : {}),
          ...fresh,
        },
        body: JSON.stringify({ name: `agent-${i}` }),
      })
  })

  const first = await startServer(t, env)
  if (undoing) gateway.faults.order(undoing)
  gateway.onCall = (called, at) => {
    if (called === operation && at === moment) first.child.kill('SIGKILL')
  }
  await Promise.all(
    registrants.map((register) =>
      assert.rejects(register(first.url), 'the process died before it could respond'),
    ),
  )
  assert.equal(await first.ended(), 'SIGKILL')
  gateway.onCall = () => undefined
  gateway.faults.clear()
  const begun = await store.listRegistrations({ limit: 10 })
  assert.ok(begun.length > 0, 'the registration is recorded before the side effect')
  assert.ok(
    begun.some(({ status }) => status === 'pending'),
    'an unfinished registration is pending',
  )

  const second = await startServer(t, env)
  const given: ReceivedCredential[] = []
  // The clients retry and get their keys, whether a retry or the recovery finishes the work.
  if (keyed) given.push(...(await Promise.all(registrants.map((register) => insist(register, second.url)))))
  await nothingPending(store)
  await assertInvariants(gateway, store, given)
  if (isFederated) {
    const again = registrants.map((register) => register(second.url, { 'idempotency-key': randomUUID() }))
    for (const answer of await Promise.all(again))
      assert.equal((await readProblem(answer)).code, 'token_replayed', 'each token was used once')
  }
  if (keyed) return
  assert.equal(gateway.account.keys.size, 0, 'keys that were never returned are deleted')
  const retries = await Promise.all(registrants.map((register) => register(second.url)))
  assert.ok(
    retries.every(({ status }) => status === 201),
    'the uses were refunded',
  )
  await assertInvariants(
    gateway,
    store,
    await Promise.all(retries.map(async (answer) => (await answer.json()) as ReceivedCredential)),
  )
}

async function insist(
  register: (url: string) => Promise<Response>,
  url: string,
): Promise<ReceivedCredential> {
  let answer = await register(url)
  for (let tries = 0; answer.status !== 201 && tries < 60; tries++) {
    assert.ok([409, 503].includes(answer.status), `${answer.status} ${await answer.text()}`)
    await sleep(Number(answer.headers.get('retry-after')) * 250)
    answer = await register(url)
  }
  return (await answer.json()) as ReceivedCredential
}

async function nothingPending(store: Store): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if ((await store.listRegistrations({ status: 'pending', limit: 1 })).length === 0) return
    await sleep(100)
  }
  assert.fail('a registration is still pending after 30 s')
}

test('invariant 6: a registration answered with 201 survives an immediate kill -9', async (t) => {
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
  await assertInvariants(gateway, store, [JSON.parse(body) as ReceivedCredential])
})

test('recovery completes a key without a request; a client that retries later gets it at once', async (t) => {
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
  // As if the call in flight had never arrived: the key exists and is on no usage plan.
  for (const key of gateway.account.keys.values()) key.planIds.clear()

  const second = await startServer(t, env)
  await nothingPending(store)
  const [adopted] = await store.listRegistrations({ limit: 1 })
  assert.deepEqual([adopted?.status, adopted?.answeredAt], ['active', null])
  const answer = await fetch(`${second.url}/register`, init)
  assert.equal(answer.status, 201)
  assert.equal(answer.headers.get('idempotency-replayed'), 'true')
  await assertInvariants(gateway, store, [(await answer.json()) as ReceivedCredential])
})

test('registrations list, show and reconcile: a registration left by a crash is listed and undone on demand', async (t) => {
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
    await sleep(250) // The lease of the dead process must expire.
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
