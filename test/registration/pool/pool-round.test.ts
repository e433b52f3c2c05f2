import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fastTiming } from '../../support/invariants.ts'
import {
  callsOf,
  poolKeysIn,
  readyHere,
  startPooled,
  until,
  untilReady,
  untilTrouble,
} from '../../support/pool-states.ts'
import { dataPlane, registered } from '../../support/service.ts'

test('the pool fills to POOL with one import a plan, and its keys work', async (t) => {
  const service = await startPooled(t, { env: { POOL: 'gold:5,free:3' } })
  const keys = await untilReady(service, 8)
  assert.equal(keys.filter(({ plan }) => plan === 'gold').length, 5)
  assert.deepEqual(service.gateway.answers['ImportApiKeys'], { 201: 2 })
  const made = poolKeysIn(service.gateway)
  assert.equal(made.length, 8)
  for (const { value } of made) assert.equal(await dataPlane(service, value), 200)
  assert.equal(readyHere(service), 5)
  for (const { value } of made) assert.ok(!service.logLines.join('').includes(value), 'no value is logged')
})

test('a key that is handed out is replaced, and there are never more keys than POOL beyond those handed out', async (t) => {
  const service = await startPooled(t, { env: { USAGE_PLANS: 'gold=demogold', POOL: 'gold:3' } })
  const { gateway } = service
  await untilReady(service, 3)
  let handedOut = 0
  let most = 0
  gateway.onCall = () => {
    most = Math.max(most, gateway.account.keys.size - handedOut)
  }
  for (let i = 0; i < 8; i++) {
    // Counted before it begins, so that a key of a registration alone does not count either.
    handedOut += 1
    const answer = await registered(service)
    assert.equal(await dataPlane(service, answer.api_key_value), 200)
  }
  await untilReady(service, 3)
  assert.ok(most <= 3, `${most} keys beyond those handed out`)
  assert.equal(gateway.account.keys.size, 11)
  await until(service, () => poolKeysIn(gateway).length === 3, 'those handed out are renamed')
})

test('a key that an operator disables, detaches or deletes is replaced, and not handed out once a check has seen it', async (t) => {
  const service = await startPooled(t)
  const { account } = service.gateway
  const before = await untilReady(service, 4)
  const [disabled, detached, deleted, kept] = before.map(({ apiKeyId }) => account.key(apiKeyId ?? ''))
  assert.ok(disabled && detached && deleted && kept)
  disabled.enabled = false
  account.detach('demogold', detached.id)
  account.deleteKey(deleted.id)
  const gone = [disabled, detached, deleted].map(({ id }) => id)
  await until(
    service,
    async () => {
      const keys = await service.deps.store.listPoolKeys()
      const isReplaced = keys.every(
        ({ apiKeyId, state }) => !gone.includes(apiKeyId ?? '') && state === 'ready',
      )
      return keys.length === 4 && isReplaced
    },
    'three are replaced',
  )
  assert.deepEqual(
    poolKeysIn(service.gateway)
      .map(({ id }) => id)
      .filter((id) => [...gone, kept.id].includes(id)),
    [kept.id],
  )
})

test('a young key that a check has shown, and the next one lacks, is thrown away: its list is not late', async (t) => {
  const timing = { ...fastTiming, sweepAfter: 90_000 }
  const service = await startPooled(t, { timing })
  const { account } = service.gateway
  const [detached, deleted] = await untilReady(service, 4)
  const listed = () => callsOf(service.gateway, 'GetUsagePlanKeys').length
  const shown = listed()
  await until(service, () => listed() > shown + 2, 'a check has shown them')
  account.detach('demogold', detached?.apiKeyId ?? '')
  account.deleteKey(deleted?.apiKeyId ?? '')
  const gone = [detached, deleted].map((key) => key?.id)
  await until(
    service,
    async () => (await service.deps.store.listPoolKeys()).every(({ id }) => !gone.includes(id)),
    'both are thrown away',
  )
})

test('keys older than POOL_MAX_AGE are replaced, a part at a time', async (t) => {
  let passed = 0
  const service = await startPooled(t, {
    env: { POOL: 'gold:4', POOL_MAX_AGE: '24h' },
    clock: () => Date.now() + passed,
  })
  const before = new Set((await untilReady(service, 4)).map(({ id }) => id))
  passed = 24 * 3_600_000
  let fewest = 4
  await until(
    service,
    async () => {
      const keys = await service.deps.store.listPoolKeys()
      fewest = Math.min(fewest, keys.filter(({ state }) => state === 'ready').length)
      return keys.length === 4 && keys.every(({ id, state }) => !before.has(id) && state === 'ready')
    },
    'all are replaced',
  )
  assert.ok(fewest >= 3, `${fewest} were ready`)
  assert.equal(poolKeysIn(service.gateway).length, 4)
})

test('while the plan covers no stage, nothing is handed out or made; then the pool fills again', async (t) => {
  const service = await startPooled(t)
  const { gateway } = service
  await untilReady(service, 4)
  const plan = gateway.account.plan('demogold')
  const { apiStages } = plan
  plan.apiStages = []
  await until(service, () => poolKeysIn(gateway).length === 0, 'the keys are deleted')
  assert.equal(readyHere(service), 0)
  assert.ok(service.logLines.some((line) => line.includes('covers no stage')))
  await untilTrouble(service, /^plan gold is gone, or covers no stage$/)
  plan.apiStages = apiStages
  await untilReady(service, 4)
  assert.equal(callsOf(gateway, 'ImportApiKeys').length, 2)
})

test('hand-outs without a pause do not put the rounds off', async (t) => {
  const service = await startPooled(t, { timing: { poolQuiet: 500 } })
  const keys = await untilReady(service, 4)
  const { heldKeys } = service.deps.pool ?? assert.fail('there is no pool')
  const [disabled] = keys.map(({ apiKeyId }) => service.gateway.account.key(apiKeyId ?? ''))
  assert.ok(disabled)
  disabled.enabled = false
  const handedOut = {
    ...{ id: 'pool_other', plan: 'gold', usagePlanId: 'demogold', apiKeyId: 'k' },
    value: 'v',
  }
  const handOuts = setInterval(
    () => heldKeys.handedOut({ ...handedOut, seenWorking: true, createdAt: 1 }),
    20,
  )
  t.after(() => clearInterval(handOuts))
  await until(service, () => !service.gateway.account.keys.has(disabled.id), 'a round checks the keys')
})

test('many deletions do not keep another plan from being filled', async (t) => {
  const first = await startPooled(t, { env: { POOL: 'gold:150' } })
  await untilReady(first, 150)
  await first.deps.pool?.start().stop()
  const { gateway } = first
  let deletedBefore = 0
  gateway.onCall = (operation, moment) => {
    if (operation === 'ImportApiKeys' && moment === 'arrived')
      deletedBefore = callsOf(gateway, 'DeleteApiKey').length
  }
  const second = await startPooled(t, { beside: first, env: { POOL: 'gold:2,free:3' } })
  await untilReady(second, 5)
  assert.ok(deletedBefore < 100, `${deletedBefore} deletions before the import`)
  assert.equal(poolKeysIn(gateway).length, 5)
})

test('keys that another process took over are forgotten, and not handed out', async (t) => {
  const service = await startPooled(t)
  const ids = (await untilReady(service, 4)).map(({ id }) => id).slice(0, 2)
  const { store, clock, pool } = service.deps
  assert.ok(pool)
  // As after a pause longer than the lease: the other holds keys that are in the memory of this process too.
  await until(
    service,
    async () => {
      await store.releasePoolHolder(pool.heldKeys.owner)
      await store.renewPoolHolder({
        owner: 'other',
        until: clock() + 60_000,
        sizes: { gold: 4 },
        trouble: null,
      })
      return (await store.takePoolKeys(ids, 'other', clock())).size === 2
    },
    'taken by the other',
  )
  await until(service, () => readyHere(service) === 2, 'forgotten')
  const left = [pool.heldKeys.take('demogold'), pool.heldKeys.take('demogold')].map((key) => key?.id)
  assert.ok(left.every((id) => id !== undefined && !ids.includes(id)))
})

test('a process that stops has no keys left that others may take', async (t) => {
  const service = await startPooled(t)
  await untilReady(service, 4)
  await service.deps.pool?.start().stop()
  assert.equal(readyHere(service), 0)
})
