import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { newPoolKeyIds, poolKeyName } from '../../../src/registration/key-names.ts'
import { createPool } from '../../../src/registration/pool/create-pool.ts'
import { long } from '../../support/long.ts'
import {
  callsOf,
  poolKeysIn,
  readyHere,
  startPooled,
  until,
  untilReady,
  untilRecords,
} from '../../support/pool-states.ts'
import type { Service } from '../../support/service.ts'

const stop = ({ deps }: Service) => deps.pool?.start().stop()

test('POOL counts for all processes together: each holds its share, and a stop hands it over at once', async (t) => {
  const first = await startPooled(t, { env: { POOL: 'gold:6' } })
  await untilReady(first, 6)
  const second = await startPooled(t, { beside: first, env: { POOL: 'gold:6' } })
  await until(second, () => readyHere(first) === 3 && readyHere(second) === 3, 'three each')
  assert.equal((await untilReady(first, 6)).length, 6)
  assert.equal(callsOf(first.gateway, 'ImportApiKeys').length, 1, 'none is made anew')
  await stop(first)
  const reads = callsOf(second.gateway, 'ImportApiKeys').length
  await until(second, () => readyHere(second) === 6, 'the second holds all')
  assert.equal(callsOf(second.gateway, 'ImportApiKeys').length, reads)
  assert.equal(poolKeysIn(second.gateway).length, 6)
  assert.equal(callsOf(second.gateway, 'DeleteApiKey').length, 0)
})

test('the keys of a process that died are taken over by one read, and keep their state', async (t) => {
  const first = await startPooled(t)
  const before = await untilReady(first, 4)
  await stop(first)
  const { store, clock } = first.deps
  // As it was killed: its keys are held until its time is over.
  const until1 = clock() + 500
  await store.renewPoolHolder({ owner: 'dead', until: until1, sizes: { gold: 4 }, trouble: null })
  await store.takePoolKeys(
    before.map(({ id }) => id),
    'dead',
    clock(),
  )
  const reads: number[] = []
  first.gateway.onCall = (operation, moment) => {
    if (operation === 'GetApiKeys' && moment === 'arrived') reads.push(clock())
  }
  const second = await startPooled(t, {
    beside: first,
    timing: { poolCheck: 600_000, countAccount: 600_000 },
  })
  await until(second, () => readyHere(second) === 4, 'taken over')
  assert.ok(clock() >= until1)
  // The account was counted, the first round looked at what there is, and the keys were read once.
  assert.ok(reads.length <= 3, `${reads.length} reads`)
  assert.equal(callsOf(second.gateway, 'ImportApiKeys').length, 1)
  assert.equal(callsOf(second.gateway, 'DeleteApiKey').length, 0)
  assert.deepEqual(
    (await untilReady(second, 4)).map(({ id }) => id),
    before.map(({ id }) => id),
  )
  assert.ok(!second.logLines.some((line) => line.includes('is empty')), 'it has the keys in the same round')
})

test(
  'of two processes that find free keys, each key is held by one, and none is made anew',
  long,
  async (t) => {
    const first = await startPooled(t, { env: { POOL: 'gold:8' } })
    await untilReady(first, 8)
    await stop(first)
    const [second, third] = await Promise.all([
      startPooled(t, { beside: first, env: { POOL: 'gold:8' } }),
      startPooled(t, { beside: first, env: { POOL: 'gold:8' } }),
    ])
    assert.ok(second && third)
    await until(second, () => readyHere(second) === 4 && readyHere(third) === 4, 'four each')
    assert.equal(callsOf(first.gateway, 'ImportApiKeys').length, 1)
  },
)

/** Stops a service with two keys, and records `count` others that a dead process was making. The first of these has the key of one of the two. */
async function withKeyOfDead(t: TestContext, count: number) {
  const first = await startPooled(t, { env: { POOL: 'gold:2' }, timing: { undo: 400 } })
  await untilReady(first, 2)
  await stop(first)
  const { store, clock } = first.deps
  const [made] = await store.listPoolKeys()
  assert.ok(made)
  await store.takePoolKeys([made.id], 'dead', clock())
  await store.discardPoolKeys([made.id], 'dead', clock())
  await store.forgetPoolKeys([made.id], 'dead')
  const ids = newPoolKeyIds(store.id, count)
  await store.beginPoolKeys(
    ids.map((id) => ({ id, plan: 'gold', usagePlanId: 'demogold', createdAt: clock() })),
    'dead',
    9,
  )
  const key = first.gateway.account.key(made.apiKeyId ?? '')
  first.gateway.account.rename(key, poolKeyName(ids[0] ?? '', 'gold'))
  return { first, key, ids }
}

test('what a dead process was making is used if it exists, and otherwise forgotten when it can exist no more', async (t) => {
  // The import of the second never arrived.
  const { first, ids } = await withKeyOfDead(t, 2)
  const second = await startPooled(t, { beside: first, env: { POOL: 'gold:4' }, timing: { undo: 400 } })
  const keys = await untilReady(second, 4)
  const left = keys.filter(({ id }) => ids.includes(id))
  assert.deepEqual(
    left.map(({ id }) => id),
    ids.slice(0, 1),
  )
})

test('a key that a dead process made and did not attach is deleted when it can be attached no more, however late lists may be', async (t) => {
  const { first, key } = await withKeyOfDead(t, 1)
  key.planIds.clear()
  const second = await startPooled(t, {
    beside: first,
    env: { POOL: 'gold:4' },
    timing: { undo: 400, sweepAfter: 60_000, poolCheck: 500 },
  })
  await until(second, () => !first.gateway.account.keys.has(key.id), 'deleted')
})

test('after POOL shrinks the surplus is deleted, and so are the keys of a plan that is not in it any more', async (t) => {
  const first = await startPooled(t, { env: { POOL: 'gold:4,free:3' } })
  await untilReady(first, 7)
  await stop(first)
  const second = await startPooled(t, { beside: first, env: { POOL: 'gold:2' } })
  await until(second, () => poolKeysIn(second.gateway).length === 2, 'the surplus is deleted')
  const left = await untilReady(second, 2)
  assert.ok(left.every(({ plan }) => plan === 'gold'))
  assert.equal(readyHere(second), 2)
  await stop(second)
  // The name of the plan stands for another usage plan now.
  const third = await startPooled(t, { beside: first, env: { USAGE_PLANS: 'gold=demofree', POOL: 'gold:2' } })
  const other = await untilRecords(
    third,
    (keys) =>
      keys.length === 2 && keys.every((key) => key.usagePlanId === 'demofree' && key.state === 'ready'),
    'of the other usage plan',
  )
  assert.equal(other.length, 2)
  assert.equal(poolKeysIn(third.gateway).length, 2)
})

test('keys are taken over while the keys of the account are still counted, and none is made before that', async (t) => {
  const first = await startPooled(t, { env: { POOL: 'gold:3' } })
  await untilReady(first, 3)
  await stop(first)
  const { deps, gateway } = first
  let countedAll = () => {}
  const countKeys = async () => {
    await new Promise<void>((resolve) => {
      countedAll = resolve
    })
    return { count: 3, isComplete: true }
  }
  const pool = createPool({
    ...{ ...deps, isBusy: () => false, config: { ...deps.config, pool: new Map([['gold', 4]]) } },
    lowPriorityApiGateway: { ...deps.lowPriorityApiGateway, countKeys },
  })
  const upkeep = pool.start()
  await until(first, () => pool.heldKeys.ready('demogold') === 3, 'taken over')
  assert.equal(callsOf(gateway, 'ImportApiKeys').length, 1)
  countedAll()
  await until(first, () => pool.heldKeys.ready('demogold') === 4, 'filled')
  await upkeep.stop()
})
