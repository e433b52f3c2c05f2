import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startScheduler } from '../../../src/registration/jobs/scheduler.ts'
import { poolKeysIn, startPooled, until, untilReady } from '../../support/pool-states.ts'

test('after POOL is removed, the next process deletes the keys, and leaves those of a live holder', async (t) => {
  const first = await startPooled(t, { env: { POOL: 'gold:3,free:2' } })
  await untilReady(first, 5)
  const second = await startPooled(t, { beside: first, env: { POOL: '' } })
  assert.equal(second.deps.pool, null)
  let looks = 0
  const { listPoolHolders } = second.deps.store
  Object.assign(second.deps.store, {
    listPoolHolders: () => {
      looks += 1
      return listPoolHolders()
    },
  })
  const jobs = startScheduler(second.deps)
  t.after(() => jobs.stop().catch(() => undefined))
  await until(second, () => looks >= 2, 'the second has seen the holder')
  assert.equal(poolKeysIn(first.gateway).length, 5)
  await first.deps.pool?.start().stop()
  await until(second, async () => (await second.deps.store.listPoolKeys()).length === 0, 'no records')
  assert.equal(poolKeysIn(first.gateway).length, 0)
  await until(second, async () => (await listPoolHolders()).length === 0, 'no holders')
  // Of a pool that is set again.
  const third = await startPooled(t, { beside: first, env: { POOL: 'gold:2' } })
  await untilReady(third, 2)
})
