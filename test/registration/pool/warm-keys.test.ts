import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createKeyShelf } from '../../../src/registration/pool/held-keys.ts'
import { createWarmKeys } from '../../../src/registration/pool/warm-keys.ts'
import { long } from '../../support/long.ts'
import {
  poolKeysIn,
  readyHere,
  startPooled,
  until,
  untilReady,
  untilRecords,
  untilTrouble,
} from '../../support/pool-states.ts'
import { dataPlane, registered } from '../../support/service.ts'

const probed = { API_PROBE_PATH: '/', POOL: 'gold:4', POOL_SETTLE: '1h' }

test('a key is ready after the data plane accepted it three times in a row, not once while it flickers', async (t) => {
  const service = await startPooled(t, { env: probed, gateway: { propagationMs: 500, flickerMs: 1_500 } })
  const warming = await untilRecords(
    service,
    (keys) => keys.some(({ state }) => state === 'warming'),
    'warming',
  )
  assert.equal(warming.length, 4)
  const keys = await untilReady(service, 4)
  assert.ok(keys.every(({ seenWorking }) => seenWorking))
  const madeAt = Math.min(...poolKeysIn(service.gateway).map(({ createdAt }) => createdAt))
  for (const { changedAt } of keys) assert.ok(changedAt - madeAt >= 500, 'not before it can work')
})

test('without a probe path a key is ready POOL_SETTLE after it was made, also if the clock steps, and not said to be seen working', async (t) => {
  let passed = 0
  const begun = performance.now()
  const service = await startPooled(t, {
    env: { POOL: 'gold:2', POOL_SETTLE: '3' },
    clock: () => Date.now() + passed,
  })
  await untilRecords(
    service,
    (keys) => keys.filter(({ state }) => state === 'warming').length === 2,
    'warming',
  )
  await sleep(100)
  passed = 3_600_000
  const keys = await untilReady(service, 2)
  assert.ok(performance.now() - begun >= 3_000, 'not before')
  assert.ok(keys.every(({ seenWorking }) => !seenWorking))
})

test(
  'where the probe path shows nothing, keys settle; where it rejects them, they do not',
  long,
  async (t) => {
    const method = { path: '/hello', httpMethod: 'ANY', apiKeyRequired: false }
    const unprotected = await startPooled(t, {
      env: { API_PROBE_PATH: '/', POOL: 'gold:2' },
      gateway: { restApis: [{ id: 'demo', name: 'demo', stages: ['prod'], methods: [method] }] },
    })
    const settled = await untilReady(unprotected, 2)
    assert.ok(settled.every(({ seenWorking }) => !seenWorking))
    await untilTrouble(unprotected, /^API_PROBE_PATH gives no clear response/)

    const rejecting = await startPooled(t, {
      env: { ...probed, POOL: 'gold:2', POOL_SETTLE: '0' },
      gateway: { propagationMs: 3_600_000 },
    })
    await untilRecords(
      rejecting,
      (keys) => keys.filter(({ state }) => state === 'warming').length === 2,
      'warming',
    )
    // A registration is served as without a pool.
    await registered(rejecting, { plans: ['gold'] })
    assert.equal(readyHere(rejecting), 0)
    await untilTrouble(rejecting, /^the API still rejects keys that are POOL_SETTLE old/)
  },
)

test('the first request with a key that is seen working is accepted', long, async (t) => {
  const service = await startPooled(t, { env: probed, gateway: { propagationMs: 800 } })
  await untilReady(service, 4)
  for (let i = 0; i < 4; i++) {
    const { api_key_value } = await registered(service, { plans: ['gold'] })
    assert.equal(await dataPlane(service, api_key_value), 200)
  }
})

test('while the store is down that is logged once, and tried again after longer pauses', async (t) => {
  const service = await startPooled(t, { env: { POOL: 'gold:1' } })
  let isDown = true
  let attempts = 0
  const store = {
    ...service.deps.store,
    async advancePoolKeys() {
      attempts += 1
      if (isDown) throw new Error('the store is down')
      return new Set(['pool_a_1'])
    },
  }
  const shelf = createKeyShelf({ owner: 'me', onGone: () => undefined })
  const warm = createWarmKeys({ ...service.deps, store, isBusy: () => false }, shelf)
  const key = { id: 'pool_a_1', plan: 'gold', usagePlanId: 'demogold', apiKeyId: 'k', value: 'v' }
  warm.add([{ ...key, createdAt: 1, since: 1 }])
  await until(service, () => attempts >= 4, 'tried again')
  isDown = false
  await until(service, () => shelf.ready('demogold') === 1, 'ready')
  await warm.stop()
  const lines = service.logLines.filter((line) =>
    line.includes('could not record that keys of the pool work'),
  )
  assert.equal(lines.length, 1)
})
