import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateway } from '../../../emulator/gateway.ts'
import { POOL_PREFIX } from '../../../src/registration/key-names.ts'
import type { PoolKey } from '../../../src/store/pool.ts'
import { fastTiming } from '../../support/invariants.ts'
import { dataPlane, type Service, type ServiceOptions, startService } from '../../support/service.ts'

const poolKeysOf = (gateway: Gateway) =>
  [...gateway.account.keys.values()].filter(({ name }) => name.startsWith(POOL_PREFIX))

/** Waits for a state of the pool's records. */
async function until(
  service: Service,
  holds: (keys: PoolKey[]) => boolean,
  what: string,
): Promise<PoolKey[]> {
  const end = Date.now() + 20_000
  for (;;) {
    const keys = await service.deps.store.listPoolKeys()
    if (holds(keys)) return keys
    if (Date.now() > end)
      assert.fail(`${what}: ${JSON.stringify(keys)}\n${service.logLines.slice(-20).join('')}`)
    await sleep(20)
  }
}
const allReady = (count: number) => (keys: PoolKey[]) =>
  keys.length === count && keys.every(({ state }) => state === 'ready')

const start = (t: TestContext, options: ServiceOptions = {}) =>
  startService(t, {
    ...options,
    timing: { ...fastTiming, ...options.timing },
    env: { POOL: 'gold:5,free:3', POOL_SETTLE: '0', ...options.env },
  })

test('the pool fills to POOL with one import a plan, and its keys work', async (t) => {
  const service = await start(t)
  const keys = await until(service, allReady(8), 'full')
  assert.deepEqual(
    Object.entries(Object.groupBy(keys, ({ plan }) => plan))
      .map(([plan, some]) => [plan, some?.length])
      .sort(),
    [
      ['free', 3],
      ['gold', 5],
    ],
  )
  const made = poolKeysOf(service.gateway)
  assert.equal(made.length, 8)
  assert.deepEqual(service.gateway.answers['ImportApiKeys'], { 201: 2 })
  for (const { value } of made) assert.equal(await dataPlane(service, value), 200)
  assert.equal(service.deps.pool?.heldKeys.ready('demogold'), 5)
})
