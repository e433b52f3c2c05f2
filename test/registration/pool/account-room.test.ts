import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KEY_QUOTA } from '../../../src/key-quota.ts'
import { createAccountRoom, requireRoom } from '../../../src/registration/pool/account-room.ts'
import { fastTiming } from '../../support/invariants.ts'
import { poolKeysIn, startPooled, until, untilReady, untilTrouble } from '../../support/pool-states.ts'

/** The room of an account with so many keys, of which `own` are the pool's, beside a real store and log. */
async function roomWith(t: Parameters<typeof startPooled>[0], POOL: string) {
  const { deps, logLines } = await startPooled(t, { env: { POOL } })
  let count = 0
  const own = { count: 0 }
  const logged = logLines
  const part = {
    ...deps,
    timing: { ...fastTiming, countAccount: 0 },
    store: { ...deps.store, listPoolKeys: async () => Array(own.count).fill({}) },
    lowPriorityApiGateway: {
      ...deps.lowPriorityApiGateway,
      countKeys: async () => ({ count, isComplete: true }),
    },
  }
  return {
    part,
    logged,
    set(keys: number, ofPool: number) {
      count = keys
      own.count = ofPool
    },
  }
}

test('the pool may have half of the room, and a change is logged once', async (t) => {
  const { part, logged, set } = await roomWith(t, 'gold:60,free:40')
  const room = createAccountRoom(part)
  const { signal } = new AbortController()
  assert.deepEqual(room.sizes(), { gold: 60, free: 40 })
  for (const [keys, own, sizes] of [
    [KEY_QUOTA - 200, 0, { gold: 60, free: 40 }],
    [KEY_QUOTA - 100, 0, { gold: 30, free: 20 }],
    // Its own keys are room for it.
    [KEY_QUOTA - 50, 50, { gold: 30, free: 20 }],
    [KEY_QUOTA, 0, { gold: 0, free: 0 }],
    [KEY_QUOTA + 7, 3, { gold: 0, free: 0 }],
    [0, 0, { gold: 60, free: 40 }],
  ] as const) {
    set(keys, own)
    await room.refresh(signal)
    assert.deepEqual(room.sizes(), sizes, `${keys} keys`)
  }
  const lines = logged.filter((line) => line.includes('POOL'))
  assert.equal(lines.filter((line) => line.includes('POOL asks for more than half of the room')).length, 2)
  assert.equal(lines.filter((line) => line.includes('the size of POOL')).length, 1)
  set(0, 80)
  await room.isUsedUp()
  assert.deepEqual(room.sizes(), { gold: 24, free: 16 })
})

test('the start is refused with the figures if the account has no room for the pool', async (t) => {
  const { part, set } = await roomWith(t, 'gold:60,free:40')
  for (const [keys, own] of [
    [0, 0],
    [KEY_QUOTA - 100, 0],
    [KEY_QUOTA, 100],
  ] as const) {
    set(keys, own)
    await requireRoom(part)
  }
  set(KEY_QUOTA - 90, 5)
  await assert.rejects(
    requireRoom(part),
    /POOL=gold:60,free:40 asks for 100 keys, of which 5 exist, .* room for 90 more: it has 9910 of the 10000 .*\n {2}The pool may have half of that room: ask for at most 47 /,
  )
  const failing = { ...part.lowPriorityApiGateway, countKeys: () => Promise.reject(new Error('no')) }
  await requireRoom({ ...part, lowPriorityApiGateway: failing })
})

test('where the account has no room for another key, the pool shrinks, and fills when there is room', async (t) => {
  const service = await startPooled(t, {
    env: { POOL: 'gold:8' },
    gateway: { maxKeys: 6 },
    timing: { countAccount: 1_000 },
  })
  await until(
    service,
    () => service.logLines.some((line) => line.includes('the pool is smaller')),
    'it says that it shrinks',
  )
  assert.ok(poolKeysIn(service.gateway).length <= 6)
  await untilTrouble(
    service,
    /^POOL asks for more than half of the room in the account: \d keys in place of 8/,
  )
})

test('a pool is kept small enough for registrations: they are not refused for its keys', async (t) => {
  const service = await startPooled(t, { env: { POOL: 'gold:4' } })
  await untilReady(service, 4)
  service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'before', kind: 'quota', times: 99 })
  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'quota', times: 1 })
  const { secret } = await service.token({ plans: ['gold'] })
  // Each takes a key of the pool, which the account has no room to replace.
  for (let i = 0; i < 2; i++) {
    const answer = await service.register(secret)
    assert.equal(answer.status, 201, await answer.text())
  }
  await until(
    service,
    () => service.logLines.some((line) => line.includes('the pool is smaller')),
    'it shrinks',
  )
})
