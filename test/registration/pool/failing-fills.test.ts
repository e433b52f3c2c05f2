import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { FaultOrder } from '../../../emulator/faults.ts'
import { long } from '../../support/long.ts'
import {
  callsOf,
  poolKeysIn,
  startPooled,
  until,
  untilReady,
  untilTrouble,
} from '../../support/pool-states.ts'
import { dataPlane } from '../../support/service.ts'

const timing = { distrust: 1_500, undo: 600, upstreamCall: 300 }

/** The same, with time for lists that are late. */
const passingTiming = { ...timing, sweepAfter: 1_500, countAccount: 1_000 }

/** The faults of one import, or of the looks after it, from which the pool recovers by itself. */
const passing: Record<string, FaultOrder[]> = {
  'it fails once': [{ operation: 'ImportApiKeys', when: 'before', kind: 'fail' }],
  'it fails after it took effect': [{ operation: 'ImportApiKeys', when: 'after', kind: 'fail' }],
  'its response is lost': [{ operation: 'ImportApiKeys', when: 'after', kind: 'hang' }],
  'its response is cut': [{ operation: 'ImportApiKeys', when: 'after', kind: 'cut' }],
  'half of its response arrives': [{ operation: 'ImportApiKeys', when: 'after', kind: 'half' }],
  'it never arrives': [{ operation: 'ImportApiKeys', when: 'before', kind: 'hang' }],
  'it is throttled': [{ operation: 'ImportApiKeys', when: 'before', kind: 'throttle' }],
  'it is denied for a while': [{ operation: 'ImportApiKeys', when: 'before', kind: 'denied', times: 2 }],
  'it meets another change': [{ operation: 'ImportApiKeys', when: 'before', kind: 'conflict', times: 3 }],
  'the account is full for a while': [{ operation: 'ImportApiKeys', when: 'before', kind: 'quota' }],
  'it leaves keys that are not enabled': [
    { operation: 'ImportApiKeys', when: 'before', kind: 'disabled', every: 2 },
  ],
  'it leaves keys that are not on their plan': [
    { operation: 'ImportApiKeys', when: 'before', kind: 'unattached', every: 2 },
  ],
  'the lists are late': [
    { operation: 'GetApiKeys', when: 'after', kind: 'late', ms: 400, times: 1_000 },
    { operation: 'GetUsagePlanKeys', when: 'after', kind: 'late', ms: 700, times: 1_000 },
  ],
  'the looks fail': [
    { operation: 'GetUsagePlanKeys', when: 'before', kind: 'fail', times: 5 },
    { operation: 'GetApiKeys', when: 'before', kind: 'throttle', times: 2 },
  ],
}

/** The cases that `npm test` has too. */
const quick = [
  'its response is lost',
  'it leaves keys that are not enabled',
  'they leave keys that are not on their plan',
]

describe('after a fault the pool fills, never above POOL, and leaves no key that it does not know', {
  concurrency: 4,
}, () => {
  for (const [what, faults] of Object.entries(passing))
    test(what, quick.includes(what) ? {} : long, async (t) => {
      const empty = await startPooled(t, { timing: passingTiming, env: { POOL: '' } })
      const { gateway } = empty
      for (const fault of faults) gateway.faults.order(fault)
      let most = 0
      gateway.onCall = () => {
        most = Math.max(most, gateway.account.keys.size)
      }
      const service = await startPooled(t, { beside: empty, timing: passingTiming })
      const keys = await untilReady(service, 4)
      assert.ok(most <= 4, `${most} keys`)
      gateway.faults.clear()
      assert.deepEqual(
        new Set(poolKeysIn(gateway).map(({ id }) => id)),
        new Set(keys.map(({ apiKeyId }) => apiKeyId)),
      )
      for (const { value } of poolKeysIn(gateway)) assert.equal(await dataPlane(service, value), 200)
    })
})

/** Imports that never work. */
const lasting: Record<string, FaultOrder['kind']> = {
  'they fail': 'fail',
  'they are rejected': 'refused',
  'the endpoint lacks them': 'unsupported',
  'they leave keys that are not enabled': 'disabled',
  'they leave keys that are not on their plan': 'unattached',
}

describe('where imports do not work, the log says so, and the keys are made one at a time', {
  concurrency: 4,
}, () => {
  for (const [what, kind] of Object.entries(lasting))
    test(what, quick.includes(what) ? {} : long, async (t) => {
      const empty = await startPooled(t, { timing, env: { POOL: '' } })
      const { gateway } = empty
      gateway.faults.order({ operation: 'ImportApiKeys', when: 'before', kind, times: 10_000 })
      const slowly = { ...timing, distrust: 600_000 }
      const service = await startPooled(t, { beside: empty, timing: slowly, env: { POOL: 'gold:3' } })
      await untilReady(service, 3)
      assert.ok(service.logLines.some((line) => line.includes('making keys of the pool one at a time')))
      await untilTrouble(service, /^imports do not work: keys are made one at a time$/)
      assert.ok(callsOf(gateway, 'CreateApiKey').length >= 1)
      assert.equal(poolKeysIn(gateway).length, 3)
    })
})

test('the holder says why its pool is not filled, until it is', async (t) => {
  const empty = await startPooled(t, { timing, env: { POOL: '' } })
  const { faults } = empty.gateway
  faults.order({ operation: 'ImportApiKeys', when: 'before', kind: 'denied', times: 10_000 })
  const service = await startPooled(t, { beside: empty, timing })
  await untilTrouble(service, /^could not make keys of plan gold: upstream_misconfigured \(see the log\)$/)
  faults.clear()
  faults.order({ operation: 'GetApiKeys', when: 'before', kind: 'denied', times: 10_000 })
  await untilTrouble(service, /^the upkeep failed: upstream_misconfigured/)
  faults.clear()
  await untilReady(service, 4)
  await untilTrouble(service, /^none$/)
})

test(
  'where the usage plan is gone, the log says so, and the other plans have their keys',
  long,
  async (t) => {
    const service = await startPooled(t, { timing, env: { POOL: 'gold:2,free:2' } })
    await untilReady(service, 4)
    service.gateway.account.plan('demogold').apiStages = []
    service.gateway.account.deletePlan('demogold')
    await until(service, () => poolKeysIn(service.gateway).length === 2, 'those of gold are deleted')
    assert.ok(service.logLines.some((line) => line.includes('the usage plan is gone')))
    assert.ok((await untilReady(service, 2)).every(({ plan }) => plan === 'free'))
  },
)
