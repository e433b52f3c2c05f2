import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../../src/auth/bootstrap-token.ts'
import { hashSecret } from '../../../src/auth/secret-hash.ts'
import { recover } from '../../../src/registration/jobs/recover.ts'
import { newRegistrationIds } from '../../../src/registration/key-names.ts'
import { createWorkLeases } from '../../../src/registration/work-leases.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import { newRegistration } from '../../store/store-contract.ts'
import { assertInvariants, fastTiming, runJobsUntilIdle } from '../../support/invariants.ts'
import { long } from '../../support/long.ts'
import { readProblem } from '../../support/problem.ts'
import { startService, tempDir, unlimitedPolicy } from '../../support/service.ts'

test('a batch that a crash interrupted is recovered together, with few calls', async (t) => {
  const service = await startService(t, { timing: fastTiming })
  const { deps, gateway } = service
  const { token } = await service.token()
  const idempotencyOf = (n: number) => ({
    keyHash: hashSecret(`key ${n}`),
    requestHash: hashSecret('body'),
    sealed: Buffer.from('sealed'),
  })
  // 40 with an idempotency key: attached, on no plan, without a key. And 20 without one: with a key, and without.
  const batch = newRegistrationIds(deps.store.id, 60).map((id, n) => ({
    ...newRegistration(token.id),
    id,
    createdAt: Date.now(),
    idempotency: n < 40 ? idempotencyOf(n) : null,
  }))
  await deps.store.beginRegistrations(batch, { owner: 'dead', until: Date.now() - 1 })
  for (const [n, { id, name }] of batch.entries()) {
    if ((n >= 30 && n < 40) || n >= 50) continue
    const key = gateway.account.createKey({ name: `${id} ${name}`, enabled: true })
    if (n < 25) gateway.account.attach('demofree', key.id)
  }

  const { registrations: recovered } = await recover(deps)
  assert.ok(recovered.every(({ done }) => done))
  assert.deepEqual(
    batch.map(({ id }) => recovered.find(({ registration }) => registration.id === id)?.action),
    batch.map((_, n) => (n < 40 ? 'adopt' : 'undo')),
  )
  const statuses = await Promise.all(
    batch.map(async ({ id }) => (await deps.store.getRegistration(id))?.status),
  )
  assert.deepEqual(
    statuses,
    batch.map((_, n) => (n < 30 ? 'active' : 'failed')),
  )
  const calls = (operation: string) => gateway.answers[operation]?.[200] ?? 0
  assert.ok(calls('GetApiKeys') <= 4, `${calls('GetApiKeys')} look-ups of 60`)
  assert.equal(gateway.answers['CreateUsagePlanKey']?.[201], 5, 'only those on no plan')
  assert.equal(gateway.answers['DeleteApiKey']?.[202], 10)
  await runJobsUntilIdle(service)
  await assertInvariants(gateway, deps.store, [])
})

test('recovery enables a key that its import left disabled, and keeps it for the retry', async (t) => {
  const service = await startService(t, { timing: fastTiming })
  const { deps, gateway } = service
  const { token } = await service.token()
  const idempotency = {
    keyHash: hashSecret('key'),
    requestHash: hashSecret('body'),
    sealed: Buffer.from('x'),
  }
  const batch = newRegistrationIds(deps.store.id, 3).map((id) => ({
    ...newRegistration(token.id),
    id,
    createdAt: Date.now(),
    idempotency: { ...idempotency, keyHash: hashSecret(id) },
  }))
  await deps.store.beginRegistrations(batch, { owner: 'dead', until: Date.now() - 1 })
  for (const [n, { id, name }] of batch.entries()) {
    const key = gateway.account.createKey({ name: `${id} ${name}`, enabled: n === 0 })
    if (n < 2) gateway.account.attach('demofree', key.id)
  }
  await recover(deps)
  for (const { id } of batch) assert.equal((await deps.store.getRegistration(id))?.status, 'active')
  assert.equal(gateway.answers['UpdateApiKey']?.[200], 2)
  await assertInvariants(gateway, deps.store, [])
})

for (const isIdempotent of [false, true]) {
  const title = isIdempotent ? 'with an idempotency key' : 'without an idempotency key'
  test(
    `a key that GetApiKeys shows only after recovery has looked is no stray key, ${title}`,
    long,
    async (t) => {
      const service = await startService(t, { timing: { ...fastTiming, sweepAfter: 1_500 } })
      const { deps, gateway } = service
      const { token } = await service.token()
      const keyed = { keyHash: hashSecret('key'), requestHash: hashSecret('body'), sealed: Buffer.from('x') }
      const registration = { ...newRegistration(token.id), createdAt: Date.now() }
      await deps.store.beginRegistrations([{ ...registration, idempotency: isIdempotent ? keyed : null }], {
        owner: 'dead',
        until: Date.now() - 1,
      })
      const { id, name } = registration
      gateway.account.attach(
        'demofree',
        gateway.account.createKey({ name: `${id} ${name}`, enabled: true }).id,
      )
      for (const operation of ['GetApiKeys', 'GetUsagePlanKeys'] as const)
        gateway.faults.order({ operation, when: 'after', kind: 'late', times: 1_000 })
      await recover(deps)
      assert.equal((await deps.store.getRegistration(id))?.status, 'failed', 'no key was seen')
      assert.equal(gateway.account.keys.size, 1)
      await runJobsUntilIdle(service)
      await assertInvariants(gateway, deps.store, [])
      assert.equal(gateway.account.keys.size, 0)
    },
  )
}

test('recovery keeps a key that GetUsagePlanKeys shows late', long, async (t) => {
  const service = await startService(t, { timing: { ...fastTiming, undo: 12_000 } })
  const { deps, gateway } = service
  const { token } = await service.token()
  const registration = { ...newRegistration(token.id), createdAt: Date.now() }
  const keyed = { keyHash: hashSecret('key'), requestHash: hashSecret('body'), sealed: Buffer.from('x') }
  await deps.store.beginRegistrations([{ ...registration, idempotency: keyed }], {
    owner: 'dead',
    until: Date.now() - 1,
  })
  const { id, name } = registration
  gateway.account.attach('demofree', gateway.account.createKey({ name: `${id} ${name}`, enabled: true }).id)
  gateway.faults.order({ operation: 'GetUsagePlanKeys', when: 'after', kind: 'late', times: 1_000 })
  await recover(deps)
  assert.equal((await deps.store.getRegistration(id))?.status, 'active')
  await assertInvariants(gateway, deps.store, [])
})

test(
  'recovery reports registrations as not done if the store fails while it works on them',
  long,
  async (t) => {
    const service = await startService(t, { timing: fastTiming })
    const { deps, gateway, dataDir } = service
    const { token } = await service.token()
    const registration = { ...newRegistration(token.id), createdAt: Date.now() }
    await deps.store.beginRegistrations([registration], { owner: 'dead', until: Date.now() - 1 })
    const other = new DatabaseSync(join(dataDir, 'firstkey.db'))
    t.after(() => other.close())
    gateway.onCall = (operation, moment) => {
      if (operation === 'GetApiKeys' && moment === 'arrived') other.exec('BEGIN IMMEDIATE')
    }
    const { registrations } = await recover(deps)
    assert.deepEqual(
      registrations.map(({ registration: { id }, action, done }) => ({ id, action, done })),
      [{ id: registration.id, action: 'undo', done: false }],
    )
    other.exec('ROLLBACK')
    gateway.onCall = () => undefined
    await runJobsUntilIdle(service)
    assert.equal((await deps.store.getRegistration(registration.id))?.status, 'failed')
  },
)

test(
  'a key whose deletion may still take effect is returned to no retry, not even to an immediate one',
  long,
  async (t) => {
    const service = await startService(t, { timing: fastTiming })
    const { gateway, deps } = service
    const { secret } = await service.token({ maxUses: 1 })
    gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' })
    gateway.faults.order({ operation: 'DeleteApiKey', when: 'before', kind: 'hang', times: 3 })
    const headers = { 'idempotency-key': randomUUID() }
    assert.equal((await service.register(secret, undefined, headers)).status, 502)
    await deps.inFlight.settled()
    assert.equal(gateway.account.keys.size, 1, 'the delete had no effect yet')
    const retry = await service.register(secret, undefined, headers)
    assert.equal((await readProblem(retry)).code, 'idempotency_in_progress')
    await runJobsUntilIdle(service)
    const later = await service.register(secret, undefined, headers)
    assert.equal(later.status, 201)
    assert.equal(later.headers.get('idempotency-replayed'), null, 'a new credential')
  },
)

test('a dropped lease is not renewed, while its process renews others', async (t) => {
  const store = openSqliteStore(join(tempDir(t), 'store.db'))
  t.after(() => store.close())
  let now = 1_000
  const leases = createWorkLeases({ store, clock: () => now, timing: fastTiming })
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, now)
  const [kept, dropped] = [leases.hold(), leases.hold()]
  const one = newRegistration(token.id)
  const other = newRegistration(token.id)
  await store.beginRegistrations([one], kept)
  await store.beginRegistrations([other], dropped)
  leases.drop(dropped.owner)
  now += fastTiming.lease - 1
  await leases.renew()
  now += 2
  assert.deepEqual(
    (await store.listRecoverable(now, 10)).map(({ id }) => id),
    [other.id],
  )
})
