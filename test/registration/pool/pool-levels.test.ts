import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createPrometheusMeter } from '../../../src/metrics/prometheus-meter.ts'
import { createKeyShelf, type HeldKey } from '../../../src/registration/pool/held-keys.ts'
import { createPoolLevels } from '../../../src/registration/pool/pool-levels.ts'
import type { PoolHolder, PoolKey } from '../../../src/store/pool.ts'
import { fastTiming } from '../../support/invariants.ts'
import { readSamples, sum } from '../../support/samples.ts'
import { startService } from '../../support/service.ts'

const NOW = Date.UTC(2026, 10, 24)

test('the pool counts as empty and as full once each, with the keys of all live holders', () => {
  const lines: string[] = []
  const note = (_fields: object, message: string) => void lines.push(message)
  const shelf = createKeyShelf({ owner: 'ann', onGone: () => levels.check() })
  const plans = [
    { name: 'gold', usagePlanId: 'p1' },
    { name: 'free', usagePlanId: 'p2' },
  ] as const
  const config = { plans, pool: new Map([['gold', 2]]) }
  const levels = createPoolLevels(
    { clock: () => NOW, config, log: { info: note, warn: note, error: note } },
    shelf,
  )
  const holder = (owner: string, until = NOW + 5_000): PoolHolder => ({
    owner,
    until,
    sizes: { gold: 2 },
    trouble: null,
  })
  const of = (owner: string): PoolKey => ({
    ...{ id: `pool_${owner}`, plan: 'gold', usagePlanId: 'p1', createdAt: NOW, changedAt: NOW },
    ...{ state: 'ready', apiKeyId: 'k1', holder: owner, seenWorking: true },
  })
  const ready = () => levels.plans().map(({ plan, size, counts }) => [plan, counts.ready, size])
  const held = (id: string): HeldKey => ({
    ...{ id, plan: 'gold', usagePlanId: 'p1', apiKeyId: id, value: id, seenWorking: true, createdAt: NOW },
  })
  const handOut = () => shelf.handedOut(shelf.take('p1') ?? assert.fail('there is no key'))

  assert.deepEqual(ready(), [['gold', 0, 2]])
  levels.check()
  assert.deepEqual(lines, [], 'a pool that was never full is not empty: it is being filled')
  shelf.add([held('a')])
  levels.observe([of('ann'), of('ben'), of('old')], [holder('ann'), holder('ben'), holder('old', NOW - 1)])
  assert.deepEqual(ready(), [['gold', 2, 2]])
  levels.check()
  assert.deepEqual(lines, ['the pool of plan gold is full'])
  handOut()
  assert.deepEqual(ready(), [['gold', 1, 2]])
  levels.observe([], [holder('ann')])
  levels.check()
  assert.deepEqual(lines.slice(1), ['the pool of plan gold is empty'])
  shelf.add([held('b')])
  levels.check()
  handOut()
  assert.equal(lines.length, 2, 'a key that comes and goes meanwhile is no news')
  shelf.add([held('c'), held('d')])
  levels.check()
  assert.deepEqual(lines.slice(2), ['the pool of plan gold is full again'])
})

test('/readyz and the metrics show the pool; an empty one is no fault', async (t) => {
  const meter = createPrometheusMeter({
    plans: ['free', 'gold'],
    version: '1.2.3',
    store: 'sqlite',
    keyQuota: 10_000,
  })
  const service = await startService(t, {
    meter,
    env: { POOL: 'free:2', POOL_SETTLE: '0' },
    // After the first keys no round makes others within the test.
    timing: { ...fastTiming, poolQuiet: 600_000 },
  })
  const { deps, url } = service
  meter.watch({
    queue: deps.mintQueue.waiting,
    inFlight: deps.inFlight.count,
    holdsDuty: () => false,
    isReady: deps.readiness.succeeded,
    clockAhead: deps.clockCheck.ahead,
    trustFileIsRefused: () => false,
    pool: () => deps.pool?.levels() ?? [],
  })
  const readyz = async () => {
    const answer = await fetch(`${url}/readyz`)
    const { pool } = (await answer.json()) as { pool?: Record<string, object> }
    return { status: answer.status, pool }
  }
  for (const end = Date.now() + 30_000; ; await sleep(20)) {
    const { pool } = await readyz()
    if (pool?.['free'] !== undefined && 'ready' in pool['free'] && pool['free'].ready === 2) break
    assert.ok(Date.now() < end, `the pool is not full: ${JSON.stringify(pool)}`)
  }
  const { secret } = await service.token()
  for (let i = 0; i < 2; i++) assert.equal((await service.register(secret)).status, 201)
  const { status, pool } = await readyz()
  assert.deepEqual({ status, pool }, { status: 200, pool: { free: { ready: 0, size: 2 } } })
  const empty = service.logLines.filter((line) => line.includes('the pool of plan free is empty'))
  assert.equal(empty.length, 1)

  const samples = readSamples(await meter.render())
  const value = (name: string, labels: Record<string, string>) =>
    sum(samples, `firstkey_pool_${name}`, labels)
  assert.equal(value('handed_out_total', { plan: 'free' }), 2)
  assert.equal(value('handed_out_total', { plan: 'gold' }), 0)
  assert.equal(value('size', { plan: 'free' }), 2)
  assert.equal(value('keys', { plan: 'free', state: 'ready' }), 0)
})

test('without POOL, /readyz has no pool', async (t) => {
  const { url } = await startService(t)
  assert.deepEqual(await (await fetch(`${url}/readyz`)).json(), { status: 'ready' })
})
