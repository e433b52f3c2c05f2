import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { defaultGatewayOptions } from '../../emulator/options.ts'
import { rotatedSchema } from '../../src/routes/registration-schema.ts'
import { fastTiming, runJobsUntilIdle } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import {
  dataPlane,
  manage,
  type Registered,
  registered,
  type Service,
  startService,
} from '../support/service.ts'

/** A plan of 3 requests a day. */
const small = {
  id: 'small',
  name: 'small',
  apiStages: [{ apiId: 'demo', stage: 'prod' }],
  quota: { limit: 3, period: 'DAY' as const },
}

/** Starts a service whose plan allows 3 requests a day. */
function start(t: TestContext, latency = {}): Promise<Service> {
  const plans = [small, ...defaultGatewayOptions.plans]
  return startService(t, {
    env: { USAGE_PLANS: 'team=small,gold=demogold' },
    gateway: { plans, latency },
    timing: fastTiming,
  })
}

const rotate = (service: Service, own: Registered, body?: unknown, headers: Record<string, string> = {}) =>
  manage(service, own, 'POST', '/rotate', body, headers)
const rotated = async (answer: Promise<Response>) => rotatedSchema.parse(await (await answer).json())

/** Sends requests to the API until it rejects one. @returns how many it accepted */
async function use(service: Service, key: string, most = 10): Promise<number> {
  for (let accepted = 0; accepted < most; accepted++)
    if ((await dataPlane(service, key)) !== 200) return accepted
  return most
}

test('a rotation of a key whose quota is used up brings a key without requests left', async (t) => {
  const service = await start(t)
  const own = await registered(service)
  assert.equal(await use(service, own.api_key_value), 3)
  const next = await rotated(rotate(service, own))
  assert.equal(await use(service, next.api_key_value), 0)
})

test('rotations carry the rest of the quota, from key to key', async (t) => {
  const service = await start(t)
  const own = await registered(service)
  assert.equal(await use(service, own.api_key_value, 1), 1)
  const second = await rotated(rotate(service, own, { overlap_seconds: 0 }))
  assert.equal(await use(service, second.api_key_value, 1), 1)
  await runJobsUntilIdle(service)
  const third = await rotated(rotate(service, own, { overlap_seconds: 0 }))
  assert.equal(await use(service, third.api_key_value), 1)
})

test('a key that still overlaps counts too: rotating with overlaps does not multiply the quota', async (t) => {
  const service = await start(t)
  const own = await registered(service)
  await rotated(rotate(service, own, { overlap_seconds: 600 }))
  assert.equal(await use(service, own.api_key_value), 3)
  const third = await rotated(rotate(service, own, { overlap_seconds: 600 }))
  assert.equal(await use(service, third.api_key_value), 0)
})

test('a rotation on a plan without a quota reads and sets no usage', async (t) => {
  const service = await start(t)
  const own = await registered(service, { plans: ['gold'] })
  assert.equal((await rotate(service, own)).status, 201)
  assert.equal(service.gateway.answers['GetUsage'], undefined)
  assert.equal(service.gateway.answers['UpdateUsage'], undefined)
})

test('a rotation whose quota cannot be carried is undone, fails retryably, and leaves the present key as it is', async (t) => {
  const service = await start(t)
  const own = await registered(service)
  assert.equal(await use(service, own.api_key_value, 1), 1)
  service.gateway.faults.order({ operation: 'UpdateUsage', when: 'before', kind: 'fail', times: 9 })
  const answer = await rotate(service, own)
  assert.equal(answer.status, 503)
  assert.equal((await readProblem(answer)).retryable, true)
  await runJobsUntilIdle(service)
  assert.deepEqual([...service.gateway.account.keys.keys()], [own.api_key_id])
  const next = await rotated(rotate(service, own))
  assert.equal(await use(service, next.api_key_value), 2)
})

test('a rotation whose response was lost carries what is left when its retry is answered', async (t) => {
  const service = await start(t, { CreateUsagePlanKey: 50 })
  const own = await registered(service)
  const headers = { 'idempotency-key': randomUUID() }
  const client = new AbortController()
  service.gateway.onCall = (operation) => {
    if (operation === 'CreateUsagePlanKey') client.abort()
  }
  await assert.rejects(manage(service, own, 'POST', '/rotate', undefined, headers, client.signal))
  await service.deps.inFlight.settled()
  assert.equal(await use(service, own.api_key_value), 3, 'used up before the retry')
  const next = await rotated(rotate(service, own, undefined, headers))
  assert.equal(await use(service, next.api_key_value), 0)
})

test('a key that was moved to a plan with a quota carries the rest of that one', async (t) => {
  const service = await start(t)
  const own = await registered(service, { plans: ['gold'] })
  await service.deps.mintQueue.settled()
  const { account } = service.gateway
  account.detach('demogold', own.api_key_id)
  account.attach('small', own.api_key_id)
  assert.equal(await use(service, own.api_key_value, 2), 2)
  const next = await rotated(rotate(service, own))
  assert.equal(next.plan, 'team')
  assert.equal(await use(service, next.api_key_value), 1)
})

test('when the name of a plan is given to a smaller plan, what was used counts there', async (t) => {
  const before = await start(t)
  const own = await registered(before)
  assert.equal(await use(before, own.api_key_value, 2), 2)
  const { id } = before.gateway.account.createPlan({
    ...small,
    name: 'smaller',
    quota: { limit: 2, period: 'DAY' },
  })
  const service = await startService(t, {
    beside: before,
    env: { USAGE_PLANS: `team=${id},gold=demogold` },
    timing: fastTiming,
  })
  const next = await rotated(rotate(service, own))
  assert.equal(next.usage_plan_id, id)
  assert.equal(await use(service, next.api_key_value), 0)
})
