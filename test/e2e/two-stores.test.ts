import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashSecret } from '../../src/auth/secret-hash.ts'
import { recover } from '../../src/registration/jobs/recover.ts'
import { newCompletion, newRegistration } from '../store/store-contract.ts'
import { fastTiming, runJobsUntilIdle } from '../support/invariants.ts'
import { long } from '../support/long.ts'
import { runCli } from '../support/server-process.ts'
import {
  dataPlane,
  manage,
  registered,
  type Service,
  serverEnv,
  startService,
  tempDir,
} from '../support/service.ts'

/** Two services in one account and Region, each with a store of its own. */
async function startTwo(t: Parameters<typeof startService>[0]) {
  const one = await startService(t, { timing: fastTiming })
  const STORE = `sqlite:${tempDir(t)}/other.db`
  const two = await startService(t, { beside: one, env: { STORE }, timing: fastTiming })
  const env = serverEnv(one.gateway, one.dataDir)
  return {
    ...{ one, two },
    cliOfOne: (...args: string[]) => runCli(t, args, env),
    cliOfTwo: (...args: string[]) => runCli(t, args, { ...env, STORE }),
  }
}

/** Leaves a registration as a process does that dies after it created the key: with or without an idempotency key. */
async function dieWhileMinting({ deps, gateway, token }: Service, id: string, isIdempotent: boolean) {
  const idempotency = { keyHash: hashSecret(id), requestHash: hashSecret('body'), sealed: Buffer.from('x') }
  const registration = {
    ...newRegistration((await token()).token.id, Date.now()),
    id,
    idempotency: isIdempotent ? idempotency : null,
  }
  await deps.store.beginRegistrations([registration], { owner: 'dead', until: Date.now() - 1 })
  return gateway.account.createKey({ name: `${id} ${registration.name}`, enabled: true })
}

test('the names of all keys of a store start with its id, whether minted alone, together or by a rotation', async (t) => {
  const { one, two } = await startTwo(t)
  assert.notEqual(one.deps.store.id, two.deps.store.id)
  for (const service of [one, two]) {
    const { secret } = await service.token()
    const alone = await registered(service)
    await Promise.all(Array.from({ length: 5 }, () => registered(service, {}, {}, secret)))
    assert.equal((await manage(service, alone, 'POST', '/rotate')).status, 201)
    const { id } = service.deps.store
    const names = [...service.gateway.account.keys.values()].map(({ name }) => name)
    assert.equal(names.filter((name) => RegExp(`^(reg|rot)_${id}_[0-9A-Za-z]{20} `).test(name)).length, 7)
    assert.match(alone.registration_id, RegExp(`^reg_${id}_`))
  }
})

test(
  'reconcile, recovery and late-key checks of one store leave the keys of another alone',
  long,
  async (t) => {
    const { one, two, cliOfOne, cliOfTwo } = await startTwo(t)
    const { account } = one.gateway
    await registered(one)
    const living = await registered(two)
    const ids = ['A', 'B'].map((letter) => `reg_${two.deps.store.id}_${letter.repeat(20)}`)
    const [undone, adopted] = [
      await dieWhileMinting(two, ids[0] ?? '', false),
      await dieWhileMinting(two, ids[1] ?? '', true),
    ]

    const done = await cliOfOne('reconcile', '--yes', '--delete-used', '--force', '--unmarked')
    assert.equal(done.code, 0, done.stderr)
    assert.match(done.stderr, RegExp(`^Keys of another store, ${two.deps.store.id}: 3\\.`, 'm'))
    await runJobsUntilIdle(one)
    assert.equal(account.keys.size, 4)
    assert.equal(await dataPlane(two, living.api_key_value), 200)

    await recover(two.deps)
    assert.ok(!account.keys.has(undone.id) && account.keys.has(adopted.id))
    assert.match((await cliOfTwo('reconcile')).stderr, /^Keys of another store, \w+: 1\./m)
  },
)

test(
  'keys and pending registrations that a version before store ids named are found, managed and recovered as before',
  long,
  async (t) => {
    const { one, two, cliOfOne, cliOfTwo } = await startTwo(t)
    const { account } = one.gateway
    const { store } = two.deps
    const { token } = await two.token()
    const [rotated, revoked] = [newRegistration(token.id, Date.now()), newRegistration(token.id, Date.now())]
    const keyIds: string[] = []
    for (const one of [rotated, revoked]) {
      const { id: apiKeyId } = account.createKey({ name: `${one.id} ${one.name}`, enabled: true })
      account.attach(one.usagePlanId, apiKeyId)
      await store.beginRegistrations([one], { owner: 'o', until: Date.now() + 9_000 })
      await store.completeRegistrations([{ ...newCompletion(one), owner: 'o', apiKeyId }], Date.now())
      await store.markDelivered([one.id], Date.now())
      keyIds.push(apiKeyId)
    }
    const [undone, adopted] = [
      await dieWhileMinting(two, newRegistration('').id, false),
      await dieWhileMinting(two, newRegistration('').id, true),
    ]

    // The other store has no record of them, and names them apart.
    const listed = await cliOfOne('reconcile', '--yes', '--json')
    assert.equal(listed.code, 0, listed.stderr)
    assert.equal(JSON.parse(listed.stdout).unmarked_keys.length, 4)
    assert.equal(account.keys.size, 4)

    await recover(two.deps)
    assert.ok(!account.keys.has(undone.id) && account.keys.has(adopted.id))
    const [first = '', second = ''] = keyIds
    const rotation = await cliOfTwo('registrations', 'rotate', first, '--overlap', '0', '--yes', '--json')
    assert.equal(rotation.code, 0, rotation.stderr)
    const next = JSON.parse(rotation.stdout)
    assert.equal(await dataPlane(two, next.api_key_value), 200)
    assert.match(account.key(next.api_key_id).name, RegExp(`^rot_${store.id}_\\w{20} ${rotated.id} `))
    const named = account.key(second).name
    assert.equal((await cliOfTwo('registrations', 'revoke', named, '--yes')).code, 0)
    await runJobsUntilIdle(two)
    assert.deepEqual([...account.keys.keys()].sort(), [next.api_key_id, adopted.id].sort())
  },
)
