import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { assertInvariants, hasWorkLeft } from '../support/invariants.ts'
import { FAST_SERVER, runCli, startServer } from '../support/server-process.ts'
import { manage, type Registered, serverEnv, tempDir, testGateway } from '../support/service.ts'

const DAY_MS = 24 * 3_600_000
const AGENTS = 1_000

/** Waits until the jobs of the running server have no work left. */
async function waitUntilIdle(store: Store, now: () => number): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const all = await store.listRegistrations({ limit: 10_000 })
    if (!all.some((one) => hasWorkLeft(one, now()))) return
    await sleep(100)
  }
  assert.fail('there is still work left after a minute')
}

async function startWorld(t: TestContext) {
  const time = { passed: 0 }
  const now = () => Date.now() + time.passed
  const gateway = await testGateway(t, { quotas: false, clock: now })
  const dir = tempDir(t)
  const base = serverEnv(gateway, dir)
  const env = { ...base, MINT_MODE: 'bulk', RATE_LIMIT_PER_IP: '0', AWS_CALLS_PER_SECOND: '0' }
  const created = ['tokens', 'create', '--label', 'x', '--max-uses', String(AGENTS)]
  const secret = (await runCli(t, created, env)).stdout.trim()
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const useKey = async ({ api_key_value }: Registered) =>
    (await fetch(base['API_BASE_URL'] ?? '', { headers: { 'x-api-key': api_key_value } })).status
  const start = () => startServer(t, { ...env, CLOCK_OFFSET: String(time.passed) }, FAST_SERVER)
  return { time, now, gateway, secret, store, useKey, start }
}

async function register(url: string, secret: string): Promise<Registered> {
  const answer = await fetch(`${url}/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: '{"name":"acme-agent"}',
  })
  assert.equal(answer.status, 201)
  return (await answer.json()) as Registered
}

/**
 * Kills a server at the first answer of a large batch, starts another, and waits until that has no work left.
 * @returns also the registrations that are in doubt: none if the server was faster than the kill
 */
async function killWhileAnswering(t: TestContext) {
  const world = await startWorld(t)
  const { now, gateway, secret, store, start } = world
  const first = await start()
  const requests = Array.from({ length: AGENTS }, async () => {
    const own = await register(first.url, secret)
    // The first import has the few that arrived first: the answers to a large one are to be cut off.
    if (gateway.account.keys.size > AGENTS / 2) first.child.kill('SIGKILL')
    return own
  })
  const held = (await Promise.allSettled(requests)).flatMap((one) =>
    one.status === 'fulfilled' ? one.value : [],
  )
  assert.ok(held.length > 0)
  assert.equal(await first.ended(), 'SIGKILL')

  const second = await start()
  await waitUntilIdle(store, now)
  await assertInvariants(gateway, store, held)
  const heldIds = new Set(held.map(({ registration_id }) => registration_id))
  const all = await store.listRegistrations({ limit: 10_000 })
  const active = all.filter(({ status }) => status === 'active')
  const inDoubt = active.filter(({ deliveredAt }) => deliveredAt === null)
  t.diagnostic(`${held.length} held, ${active.length} keys, ${inDoubt.length} in doubt`)
  for (const one of active) {
    assert.ok(one.answeredAt !== null, 'what was not answered is undone')
    if (one.deliveredAt !== null)
      assert.ok(heldIds.has(one.id), `${one.id} is delivered, and no client has it`)
  }
  assert.equal(gateway.account.keys.size, active.length)
  return { ...world, held, second, inDoubt }
}

/** The attempts to kill a server before it has sent all answers. */
const ATTEMPTS = 8

test('invariants 2, 3, 6: kill -9 at the first of 1,000 answers without Idempotency-Keys leaves no key unaccounted for', async (t) => {
  let killed = await killWhileAnswering(t)
  for (let attempt = 1; killed.inDoubt.length === 0 && attempt < ATTEMPTS; attempt++)
    killed = await killWhileAnswering(t)
  const { time, now, gateway, secret, store, useKey, start, held, second, inDoubt } = killed
  assert.ok(inDoubt.length > 0, 'each server was killed after it had sent all answers')

  // Of those that clients hold in doubt, some are managed, some are used, and some are neither.
  const doubtful = held.filter(({ registration_id }) => inDoubt.some(({ id }) => id === registration_id))
  const settled = doubtful.filter((_, i) => i % 3 < 2)
  for (const [i, own] of doubtful.entries()) {
    if (i % 3 === 0) assert.equal((await manage(second, own, 'GET')).status, 200)
    if (i % 3 === 1) assert.equal(await useKey(own), 200)
  }
  const kept = held.filter((own) => !doubtful.includes(own) || settled.includes(own))

  second.child.kill('SIGKILL')
  await second.ended()
  time.passed = DAY_MS
  const third = await start()
  await waitUntilIdle(store, now)
  assert.deepEqual(await store.listInDoubt(now(), AGENTS), [])
  await assertInvariants(gateway, store, kept)
  assert.equal(gateway.account.keys.size, kept.length, 'every key is held by a client that received it')
  const [token] = await store.listTokens()
  assert.equal(token?.uses, kept.length)
  const again = await register(third.url, secret)
  assert.equal(await useKey(again), 200)
})
