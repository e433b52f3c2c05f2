import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { WorkInStore } from '../../../src/meter.ts'
import { countWork } from '../../../src/registration/jobs/count-work.ts'
import { createLeaderLease } from '../../../src/registration/jobs/leader-lease.ts'
import { registered, startService } from '../../support/service.ts'

/** Starts a service with one key. Its rounds of counting are run by hand: `timing` applies to the next one. */
async function start(t: TestContext) {
  const service = await startService(t)
  const { deps, gateway } = service
  await registered(service)
  const timing = { ...deps.timing, countAccount: 0 }
  const lease = createLeaderLease({ ...deps, timing })
  const published: (WorkInStore | null)[] = []
  const meter = {
    request: () => undefined,
    call: () => undefined,
    commit: () => undefined,
    undone: () => undefined,
    handedOut: () => undefined,
    counted: (work: WorkInStore | null) => void published.push(work),
    watch: () => undefined,
  }
  const { lowPriorityApiGateway } = deps
  const apiGateway = { ...lowPriorityApiGateway }
  const { signal } = new AbortController()
  const count = countWork({ ...deps, timing, lowPriorityApiGateway: apiGateway }, meter, lease, signal)
  return {
    ...{ service, timing, lease, lowPriorityApiGateway, apiGateway, count },
    breakCount: () =>
      gateway.faults.order({ operation: 'GetApiKeys', times: 3, when: 'before', kind: 'fail' }),
    latest: () => published.at(-1),
  }
}

const HOUR_MS = 3_600_000

test('a count of the keys of the account that fails or does not end leaves no value, and the next round repeats it', async (t) => {
  const { service, timing, lowPriorityApiGateway, apiGateway, count, breakCount, latest } = await start(t)
  await count()
  assert.equal(latest()?.accountKeys, 1)

  apiGateway.countKeys = async () => ({ count: 1, isComplete: false })
  await count()
  assert.deepEqual([latest()?.accountKeys, latest()?.pending], [null, 0])

  apiGateway.countKeys = lowPriorityApiGateway.countKeys
  timing.countAccount = HOUR_MS
  breakCount()
  await assert.rejects(count())
  assert.deepEqual([latest()?.accountKeys, latest()?.pending], [null, 0])
  await count()
  assert.equal(latest()?.accountKeys, 1)

  await registered(service)
  await count()
  assert.equal(latest()?.accountKeys, 1, 'a complete count holds for its time')
})

test('a process that lost the duty publishes nothing, and counts the account anew when it has the duty again', async (t) => {
  const { service, timing, lease, lowPriorityApiGateway, apiGateway, count, latest } = await start(t)
  timing.countAccount = HOUR_MS
  const other = createLeaderLease(service.deps)
  const moveDuty = async () => {
    await lease.release()
    assert.ok(await other.isHeld())
  }
  apiGateway.countKeys = async (signal) => {
    await moveDuty()
    return lowPriorityApiGateway.countKeys(signal)
  }
  await count()
  assert.equal(latest(), null, 'the duty moved during the count')
  await count()
  assert.equal(latest(), null)

  apiGateway.countKeys = lowPriorityApiGateway.countKeys
  await other.release()
  await registered(service)
  await count()
  assert.equal(latest()?.accountKeys, 2)
})
