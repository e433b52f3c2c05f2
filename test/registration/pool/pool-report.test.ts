import assert from 'node:assert/strict'
import { test } from 'node:test'
import { emptyPools, poolSize, reportPool } from '../../../src/registration/pool/pool-report.ts'
import type { PoolHolder, PoolKey } from '../../../src/store/pool.ts'

const NOW = Date.UTC(2026, 10, 24)
const holder = (owner: string, sizes: PoolHolder['sizes'], until = NOW + 5_000) => ({
  owner,
  sizes,
  until,
  trouble: null,
})
const key = (fields: Partial<PoolKey>): PoolKey => ({
  ...{ id: 'pool_x', plan: 'gold', usagePlanId: 'p1', createdAt: NOW - 1_000, changedAt: NOW },
  ...{ state: 'ready', apiKeyId: 'k1', holder: 'ann', seenWorking: true },
  ...fields,
})

test('the size of a pool is the smallest that a live holder wants, and 0 where one wants none', () => {
  const both = [holder('ann', { gold: 50, free: 20 }), holder('ben', { gold: 30 })]
  assert.equal(poolSize('gold', both), 30)
  assert.equal(poolSize('free', both), 0)
  assert.equal(poolSize('toString', both), 0)
  assert.equal(poolSize('gold', []), 0)
  const { plans } = reportPool([], [holder('ann', { gold: 50 }), holder('old', { gold: 3 }, NOW - 1)], NOW)
  assert.deepEqual(
    plans.map(({ plan, size }) => [plan, size]),
    [['gold', 50]],
  )
})

test('keys are counted by plan and state, with those that no live holder has', () => {
  const { plans, holders } = reportPool(
    [
      key({}),
      key({ state: 'warming', createdAt: NOW - 9_000 }),
      key({ holder: 'old' }),
      key({ holder: null, state: 'discarding' }),
      key({ plan: 'gone', holder: null }),
    ],
    [holder('ann', { gold: 2, free: 1 }), holder('old', { gold: 9 }, NOW - 1)],
    NOW,
  )
  const none = { making: 0, warming: 0, ready: 0, discarding: 0 }
  assert.deepEqual(plans, [
    { plan: 'free', size: 1, counts: none, unheld: 0, oldest: null, newest: null },
    {
      ...{ plan: 'gold', size: 2, counts: { making: 0, warming: 1, ready: 2, discarding: 1 } },
      ...{ unheld: 2, oldest: NOW - 9_000, newest: NOW - 1_000 },
    },
    {
      ...{ plan: 'gone', size: 0, counts: { ...none, ready: 1 } },
      ...{ unheld: 1, oldest: NOW - 1_000, newest: NOW - 1_000 },
    },
  ])
  assert.deepEqual(
    holders.map(({ owner, isLive, keys }) => [owner, isLive, keys]),
    [
      ['ann', true, 2],
      ['old', false, 1],
    ],
  )
  assert.deepEqual(emptyPools({ plans, holders }), ['free'])
})
