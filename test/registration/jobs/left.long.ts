import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { forgetOld } from '../../../src/registration/idempotency/forget-old.ts'
import { decideLeft, listLeft, lookAtLeft } from '../../../src/registration/jobs/left.ts'
import { recover } from '../../../src/registration/jobs/recover.ts'
import { settleDoubts } from '../../../src/registration/jobs/settle-doubts.ts'
import { keyName } from '../../../src/registration/key-names.ts'
import { phaseOf, UNATTENDED_AFTER_MS } from '../../../src/registration/lifecycle.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import type { NewRegistration } from '../../../src/store/records.ts'
import { backUp } from '../../../src/store/sqlite/backup.ts'
import { newRegistration } from '../../store/store-contract.ts'
import { assertInvariants, runJobsUntilIdle } from '../../support/invariants.ts'
import { readProblem } from '../../support/problem.ts'
import { dataPlane, type Registered, registered, type Service, startService } from '../../support/service.ts'
import { stockedPool } from '../../support/stocked-pool.ts'

const DAY_MS = 24 * 3_600_000

interface Restored {
  readonly before: Service
  /** The service on the restored store, which shares the gateway and the clock. */
  readonly after: Service
  /** The credentials that callers received after the backup, of registrations that were unfinished in it. */
  readonly given: Registered[]
  /** Moves the clock of both. */
  wait(ms: number): void
}

/**
 * Backs up the store while registrations are pending, with and without an idempotency key, and while an answer is in doubt.
 * Their callers receive the keys afterwards. Then the store is lost, and restored.
 */
async function startRestored(
  t: TestContext,
  maxUses: number | null = null,
): Promise<Restored & { secret: string }> {
  let now = Date.now()
  const clock = () => now
  const timing = { deliver: 3_600_000, endSpacing: 0, sweepAfter: 0 }
  const before = await startService(t, { clock, timing })
  const file = join(before.dataDir, 'restored.db')
  const path = join(before.dataDir, 'firstkey.db')
  const { secret } = await before.token({ maxUses })
  const given = [await registered(before, {}, {}, secret)]
  let backup: Promise<unknown> | undefined
  let minting = 0
  before.gateway.onCall = (operation, moment) => {
    // The key exists, and its registration is pending.
    if (operation !== 'CreateUsagePlanKey' || moment !== 'effective' || ++minting < 2) return
    backup ??= backUp(path, file, now, () => undefined)
  }
  given.push(await registered(before, {}, { 'idempotency-key': randomUUID() }, secret))
  // The snapshot of the backup begins while this one waits for its key.
  given.push(await registered(before, {}, {}, secret))
  before.gateway.onCall = () => undefined
  await backup
  now += 1
  const after = await startService(t, { beside: before, clock, timing, env: { STORE: `sqlite:${file}` } })
  const pending = await after.deps.store.listRegistrations({ status: 'pending', limit: 10 })
  assert.equal(pending.length, 1)
  return {
    before,
    after,
    given,
    secret,
    wait(ms) {
      now += ms
    },
  }
}

/** Leaves a registration as a process that died after it made the key. */
async function beginAt({ deps, gateway }: Service, tokenId: string): Promise<NewRegistration> {
  const registration = { ...newRegistration(tokenId), createdAt: deps.clock() }
  await deps.store.beginRegistrations([registration], { owner: randomUUID(), until: deps.clock() })
  const key = gateway.account.createKey({ name: keyName(registration), enabled: true })
  gateway.account.attach('demofree', key.id)
  return registration
}

/** Runs what a server does by itself, for longer than a lease. */
async function runJobs({ deps }: Service): Promise<void> {
  for (let round = 0; round < 3; round++) {
    await forgetOld(deps, deps.clock())
    await recover(deps)
    await settleDoubts(deps)
  }
}

test('after a restore no key is deleted that a caller received after the backup, however long nobody decides', async (t) => {
  const { after, given, wait } = await startRestored(t)
  for (const time of [60_000, 2 * DAY_MS, 30 * DAY_MS]) {
    wait(time)
    await runJobs(after)
  }
  for (const { api_key_value } of given) assert.equal(await dataPlane(after, api_key_value), 200)
  const left = await listLeft(after.deps.store, after.deps.clock())
  assert.deepEqual(left.map(({ id }) => id).sort(), given.map((one) => one.registration_id).sort())
})

test('what began after the restore is recovered without an operator', async (t) => {
  const { after, wait } = await startRestored(t)
  const { deps } = after
  wait(60_000)
  const [token] = await deps.store.listTokens()
  assert.ok(token)
  const { id } = await beginAt(after, token.id)
  await runJobs(after)
  assert.equal((await deps.store.getRegistration(id))?.status, 'failed')
})

test('an operator keeps the keys that were used; the others are undone, or released to the ordinary rules', async (t) => {
  const { after, given, wait } = await startRestored(t)
  const { deps, gateway } = after
  wait(60_000)
  const pending = (await deps.store.listRegistrations({ status: 'pending', limit: 10 }))[0]
  const used = given.filter(({ registration_id }) => registration_id !== pending?.id)
  for (const { api_key_value } of used) assert.equal(await dataPlane(after, api_key_value), 200)
  const looks = await lookAtLeft(deps, await listLeft(deps.store, deps.clock()))
  for (const look of looks) {
    const isUsed = used.some(({ registration_id }) => registration_id === look.registration.id)
    assert.equal(await decideLeft(deps, look, false, SERVICE), isUsed ? 'kept' : 'undone')
  }
  await deps.store.acceptRestore(Number(await deps.store.findRestore()))
  wait(2 * DAY_MS)
  await runJobsUntilIdle(after)
  await assertInvariants(gateway, deps.store, used)
  for (const { registration_id } of used) {
    const one = await deps.store.getRegistration(registration_id)
    assert.equal(one && phaseOf(one), 'live')
  }
})

test('an operator can keep also what was not used, as soon as no lease is left on it', async (t) => {
  const { after, given, wait } = await startRestored(t)
  const { deps, gateway } = after
  const decideAll = async () => {
    const looks = await lookAtLeft(deps, await listLeft(deps.store, deps.clock()))
    return Promise.all(looks.map((look) => decideLeft(deps, look, true, SERVICE)))
  }
  assert.deepEqual((await decideAll()).sort(), ['kept', 'kept', 'open'])
  wait(60_000)
  assert.deepEqual(await decideAll(), ['kept'])
  assert.deepEqual(await listLeft(deps.store, deps.clock()), [])
  await deps.store.acceptRestore(Number(await deps.store.findRestore()))
  wait(2 * DAY_MS)
  await runJobsUntilIdle(after)
  await assertInvariants(gateway, deps.store, given)
})

test('the uses that wait for an operator are pending, not spent, and no request displaces them', async (t) => {
  const { after, given, secret, wait } = await startRestored(t, 3)
  for (const time of [60_000, DAY_MS]) {
    wait(time)
    const refused = await after.register(secret)
    assert.equal(refused.status, 409)
    assert.equal((await readProblem(refused)).code, 'token_uses_pending')
    assert.ok(Number(refused.headers.get('retry-after')) > 60)
    await runJobs(after)
  }
  for (const { api_key_value } of given) assert.equal(await dataPlane(after, api_key_value), 200)
})

test('what has been pending for hours is left alone without a restore too, as in an old copy of the store', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now })
  const { deps, gateway } = service
  const { token } = await service.token()
  const begin = async () => (await beginAt(service, token.id)).id
  const old = await begin()
  now += UNATTENDED_AFTER_MS
  const recent = await begin()
  now += 60_000
  const { left, registrations } = await recover(deps)
  assert.deepEqual(
    left.map(({ id }) => id),
    [old],
  )
  assert.deepEqual(
    registrations.map(({ registration: { id } }) => id),
    [recent],
  )
  assert.equal((await deps.store.getRegistration(old))?.status, 'pending')
  assert.equal((await deps.store.getRegistration(recent))?.status, 'failed')
  assert.equal(gateway.account.keys.size, 1)
})

test('a key that came from the pool is found by its id, although it is not renamed', async (t) => {
  let now = Date.now()
  const clock = () => now
  const timing = { deliver: 3_600_000, poolRename: 3_600_000 }
  const before = await startService(t, { clock, timing })
  const [key] = await stockedPool(before).stock(1)
  const own = await registered(before)
  assert.equal(own.api_key_id, key?.apiKeyId)
  const file = join(before.dataDir, 'restored.db')
  await backUp(join(before.dataDir, 'firstkey.db'), file, now, () => undefined)
  now += 1
  const { deps } = await startService(t, { beside: before, clock, timing, env: { STORE: `sqlite:${file}` } })
  const look = async () => lookAtLeft(deps, await listLeft(deps.store, now))
  assert.deepEqual(
    (await look()).map(({ apiKeyId, daysUsed }) => ({ apiKeyId, daysUsed })),
    [{ apiKeyId: own.api_key_id, daysUsed: {} }],
  )
  before.gateway.account.deleteKey(own.api_key_id)
  assert.deepEqual((await look())[0]?.apiKeyId, null)
})
