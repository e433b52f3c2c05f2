import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Place, planRound, type Situation } from '../../../src/registration/pool/share.ts'
import type { PoolKey } from '../../../src/store/pool.ts'

const HOUR_MS = 3_600_000
const NOW = 1_000 * HOUR_MS
const gold = { name: 'gold', usagePlanId: 'gold1' }
const free = { name: 'free', usagePlanId: 'free1' }

const key = (id: string, changes: Partial<PoolKey> = {}): PoolKey => ({
  ...{ id, plan: 'gold', usagePlanId: 'gold1', createdAt: NOW, state: 'ready', apiKeyId: `k${id}` },
  ...{ holder: 'a', seenWorking: true, changedAt: NOW },
  ...changes,
})
const keys = (count: number, prefix: string, changes: Partial<PoolKey> = {}) =>
  Array.from({ length: count }, (_, i) => key(`${prefix}${i}`, { createdAt: NOW + i, ...changes }))
const holder = (owner: string, sizes: Record<string, number>, until = NOW + 15_000) => ({
  owner,
  until,
  sizes,
  trouble: null,
})

/** Plans a round of the holder `a`, which has the values of its keys unless `places` says otherwise. */
function plan(situation: Partial<Situation>, places: Record<string, Place | undefined> = {}) {
  const all = situation.keys ?? []
  const placeOf = (id: string) =>
    Object.hasOwn(places, id)
      ? places[id]
      : all.some((one) => one.id === id && one.holder === 'a')
        ? 'ready'
        : undefined
  const { refill, ...rest } = planRound({
    ...{ keys: [], holders: [holder('a', { gold: 4 })], owner: 'a', plans: [gold, free], now: NOW },
    ...{ maxAgeMs: 24 * HOUR_MS, longestWarmMs: HOUR_MS, placeOf },
    ...situation,
  })
  const idsOf = (some: readonly PoolKey[]) => some.map(({ id }) => id)
  return {
    ...{ take: idsOf(rest.take), giveUp: idsOf(rest.giveUp), discard: idsOf(rest.discard) },
    ...{ unfinished: idsOf(rest.unfinished) },
    refill: refill.map((one) => [one.plan.name, one.count, one.most]),
  }
}
const nothing = { take: [], giveUp: [], discard: [], unfinished: [], refill: [] }

test('an empty pool is filled to its size, and a full one left alone', () => {
  assert.deepEqual(plan({}), { ...nothing, refill: [['gold', 4, 4]] })
  assert.deepEqual(plan({ keys: keys(4, 'g') }), nothing)
  const both = [holder('a', { gold: 4, free: 2 })]
  assert.deepEqual(plan({ holders: both }).refill, [
    ['gold', 4, 4],
    ['free', 2, 2],
  ])
})

test('a size counts for all holders together: each has its share, and the first the rest', () => {
  const three = ['a', 'b', 'c'].map((owner) => holder(owner, { gold: 5 }))
  for (const [owner, share] of [
    ['a', 2],
    ['b', 2],
    ['c', 1],
  ] as const)
    assert.deepEqual(plan({ owner, holders: three }).refill, [['gold', share, 5]], owner)
})

test('the smallest size of the live holders counts, and a plan that one of them lacks has none', () => {
  const holders = (sizes: Record<string, number>, until?: number) => [
    holder('a', { gold: 4 }),
    holder('b', sizes, until),
  ]
  assert.deepEqual(plan({ holders: holders({ gold: 2 }) }).refill, [['gold', 1, 2]])
  assert.deepEqual(plan({ holders: holders({}) }).refill, [])
  // Of a holder whose time is over, or lies too far ahead to be right, only the keys remain, which are free.
  for (const until of [NOW, NOW + HOUR_MS])
    assert.deepEqual(plan({ holders: holders({ gold: 2 }, until) }).refill, [['gold', 4, 4]])
})

test('free keys are taken before others are made, ready ones first', () => {
  const free = [
    key('making', { holder: null, state: 'making', createdAt: NOW - 9 }),
    key('warming', { holder: 'dead', state: 'warming', createdAt: NOW - 8 }),
    key('young', { holder: 'dead' }),
    key('old', { holder: null, createdAt: NOW - 1 }),
  ]
  const holders = [holder('a', { gold: 4 }), holder('dead', { gold: 9 }, NOW - 1)]
  assert.deepEqual(plan({ keys: free, holders }), { ...nothing, take: ['old', 'young', 'making', 'warming'] })
  const two = [holder('a', { gold: 4 }), holder('b', { gold: 4 })]
  assert.deepEqual(plan({ keys: free.map((one) => ({ ...one, holder: null })), holders: two }).take, [
    'old',
    'young',
  ])
})

test('keys beyond the share are given up, never one that is on its way to a request or being made', () => {
  const holders = [holder('a', { gold: 4 }), holder('b', { gold: 4 })]
  assert.deepEqual(plan({ keys: keys(4, 'g'), holders }).giveUp, ['g3', 'g2'])
  assert.deepEqual(plan({ keys: keys(4, 'g'), holders }, { g3: 'out', g2: 'making' }).giveUp, ['g1', 'g0'])
})

test('what no holder wants is discarded by the first holder alone', () => {
  const surplus = [...keys(4, 'g'), ...keys(2, 'x', { holder: null })]
  const holders = [holder('a', { gold: 4 }), holder('b', { gold: 4 })]
  assert.deepEqual(plan({ keys: surplus }).discard, ['x0', 'x1'])
  assert.deepEqual(plan({ keys: surplus, owner: 'b', holders }).discard, [])
  // A plan that is gone, and one whose name stands for another usage plan now.
  const gone = [key('gone', { plan: 'silver', holder: null }), key('other', { usagePlanId: 'gold0' })]
  assert.deepEqual(plan({ keys: [...keys(4, 'g'), ...gone] }).discard.sort(), ['gone', 'other'])
})

test('records whose deletion is not over count against the size, and the deletion goes on', () => {
  const deleting = [key('own', { state: 'discarding' }), key('lost', { state: 'discarding', holder: null })]
  const result = plan({ keys: [...keys(1, 'g'), ...deleting] })
  assert.deepEqual(result, { ...nothing, unfinished: ['own', 'lost'], refill: [['gold', 1, 4]] })
})

test('keys whose values this process lost are taken again', () => {
  assert.deepEqual(plan({ keys: keys(4, 'g') }, { g2: undefined }).take, ['g2'])
})

test('old keys are replaced a quarter at a time, and none while others are on their way', () => {
  const old = keys(8, 'g', { createdAt: NOW - 24 * HOUR_MS })
  const holders = [holder('a', { gold: 8 })]
  assert.deepEqual(plan({ keys: old, holders }).discard, ['g0', 'g1'])
  assert.deepEqual(plan({ keys: old, holders }, { g7: 'warming' }).discard, [])
  assert.deepEqual(plan({ keys: old.slice(0, 7), holders }).discard, [])
  assert.deepEqual(plan({ keys: old.slice(0, 1), holders: [holder('a', { gold: 1 })] }).discard, ['g0'])
  assert.deepEqual(plan({ keys: keys(8, 'g', { createdAt: NOW - 24 * HOUR_MS + 1 }), holders }).discard, [])
})

test('keys that warm for too long are replaced a quarter at a time, and do not keep old ones from it', () => {
  const holders = [holder('a', { gold: 8 })]
  const warming = (count: number, since: number) =>
    keys(count, 'w', { state: 'warming', changedAt: since, createdAt: since })
  const stuck = warming(8, NOW - HOUR_MS)
  const places = Object.fromEntries(stuck.map(({ id }) => [id, 'warming' as const]))
  assert.deepEqual(plan({ keys: stuck, holders }, places).discard, ['w0', 'w1'])
  assert.deepEqual(plan({ keys: warming(8, NOW - HOUR_MS + 1), holders }, places).discard, [])
  const [young] = keys(1, 'y', { state: 'warming' })
  assert.ok(young)
  assert.deepEqual(
    plan({ keys: [...stuck.slice(1), young], holders }, { ...places, y0: 'warming' }).discard,
    [],
  )
  const old = keys(7, 'g', { createdAt: NOW - 24 * HOUR_MS })
  assert.deepEqual(plan({ keys: [...old, ...stuck.slice(0, 1)], holders }, places).discard, ['g0', 'g1'])
})
