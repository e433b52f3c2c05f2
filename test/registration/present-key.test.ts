import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { registrationSchema, rotatedSchema } from '../../src/routes/registration-schema.ts'
import { usageSchema } from '../../src/routes/usage-schema.ts'
import { fastTiming } from '../support/invariants.ts'
import { long } from '../support/long.ts'
import { readProblem } from '../support/problem.ts'
import {
  dataPlane,
  manage,
  type Registered,
  registered,
  type Service,
  startService,
} from '../support/service.ts'
import { allowOnlyService } from '../support/service-policy.ts'

const MINUTE_MS = 60_000

const rotate = (service: Service, own: Registered, headers: Record<string, string> = {}) =>
  manage(service, own, 'POST', '/rotate', undefined, headers)
const view = async (service: Service, own: Registered) =>
  registrationSchema.parse(await (await manage(service, own, 'GET')).json())

/** What an operator can do to a key in AWS, and the error of what its owner then asks for. */
const interventions = {
  'UpdateApiKey enabled=false': ['registration_suspended', 403],
  DeleteUsagePlanKey: ['registration_suspended', 403],
  DeleteApiKey: ['registration_ended', 409],
} as const

async function intervene(
  { gateway, deps }: Service,
  { api_key_id }: Registered,
  how: keyof typeof interventions,
): Promise<void> {
  await deps.mintQueue.settled() // The first attachment is verified after its response, and repaired.
  const { account } = gateway
  if (how === 'DeleteApiKey') account.deleteKey(api_key_id)
  else if (how === 'DeleteUsagePlanKey') account.detach('demofree', api_key_id)
  else account.key(api_key_id).enabled = false
}

for (const [how, [code, status]] of Object.entries(interventions) as [
  keyof typeof interventions,
  (typeof interventions)[keyof typeof interventions],
][]) {
  test(`after ${how} in AWS, a rotation is refused with ${code} and mints no key`, long, async (t) => {
    const service = await startService(t)
    const own = await registered(service)
    await intervene(service, own, how)
    const answer = await rotate(service, own)
    assert.equal(answer.status, status)
    const problem = await readProblem(answer)
    assert.deepEqual([problem.code, problem.retryable], [code, false])
    assert.equal(service.gateway.answers['CreateApiKey']?.[201], 1)
    assert.equal((await view(service, own)).live, false)
  })

  test(`after ${how} in AWS, a replay of the registration is refused with ${code}`, long, async (t) => {
    for (const age of [0, 2 * MINUTE_MS]) {
      let late = 0
      const service = await startService(t, { clock: () => Date.now() + late })
      const headers = { 'idempotency-key': randomUUID() }
      const { secret } = await service.token()
      const own = await registered(service, {}, headers, secret)
      late = age
      await intervene(service, own, how)
      const answer = await service.register(secret, undefined, headers)
      assert.equal(answer.status, status)
      assert.equal((await readProblem(answer)).code, code)
    }
  })
}

test('a key that was minted while the clock was ahead counts as old at a replay, and is looked at', async (t) => {
  let ahead = 2 * MINUTE_MS
  const service = await startService(t, { clock: () => Date.now() + ahead })
  const headers = { 'idempotency-key': randomUUID() }
  const { secret } = await service.token()
  const own = await registered(service, {}, headers, secret)
  ahead = 0
  service.gateway.account.keys.delete(own.api_key_id)
  const answer = await service.register(secret, undefined, headers)
  assert.equal((await readProblem(answer)).code, 'registration_ended')
})

test('after an operator disabled the present key, a rotation whose response was lost is not answered', async (t) => {
  const service = await startService(t, {
    timing: fastTiming,
    gateway: { latency: { CreateUsagePlanKey: 50 } },
  })
  const own = await registered(service)
  const headers = { 'idempotency-key': randomUUID() }
  const client = new AbortController()
  service.gateway.onCall = (operation) => {
    if (operation === 'CreateUsagePlanKey') client.abort()
  }
  await assert.rejects(manage(service, own, 'POST', '/rotate', undefined, headers, client.signal))
  await service.deps.inFlight.settled()
  assert.equal(service.gateway.account.keys.size, 2)
  service.gateway.account.key(own.api_key_id).enabled = false
  assert.equal((await readProblem(await rotate(service, own, headers))).code, 'registration_suspended')
  service.gateway.account.key(own.api_key_id).enabled = true
  assert.equal((await rotate(service, own, headers)).status, 201)
})

test(
  'a retry that joins the minting makes no call of its own, and a replay is answered while AWS does not respond',
  long,
  async (t) => {
    const service = await startService(t, { gateway: { latency: { CreateApiKey: 50 } } })
    const headers = { 'idempotency-key': randomUUID() }
    const { secret } = await service.token()
    const [own, joined] = await Promise.all([
      registered(service, {}, headers, secret),
      registered(service, {}, headers, secret),
    ])
    assert.equal(joined.api_key_value, own.api_key_value)
    assert.equal(service.gateway.answers['GetApiKey'], undefined)
    service.gateway.faults.order({ operation: 'GetApiKey', when: 'before', kind: 'hang', times: 9 })
    assert.equal((await registered(service, {}, headers, secret)).api_key_value, own.api_key_value)
  },
)

test('a replay of a young key whose plan API Gateway shows late is answered', long, async (t) => {
  const service = await startService(t)
  const headers = { 'idempotency-key': randomUUID() }
  const { secret } = await service.token()
  const own = await registered(service, {}, headers, secret)
  const { planIds } = service.gateway.account.key(own.api_key_id)
  planIds.delete('demofree')
  let looks = 0
  service.gateway.onCall = (operation, moment) => {
    if (operation === 'GetUsagePlans' && moment === 'effective' && ++looks === 2) planIds.add('demofree')
  }
  assert.equal((await service.register(secret, undefined, headers)).status, 201)
})

test('a young key whose plan API Gateway shows late is rotated', long, async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const { planIds } = service.gateway.account.key(own.api_key_id)
  planIds.delete('demofree')
  let looks = 0
  service.gateway.onCall = (operation, moment) => {
    if (operation === 'GetUsagePlans' && moment === 'effective' && ++looks === 2) planIds.add('demofree')
  }
  assert.equal((await rotate(service, own)).status, 201)
})

test('a key that an operator moved to another plan of the service stays there: live, its usage, and its next key', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const { account } = service.gateway
  account.detach('demofree', own.api_key_id)
  account.attach('demogold', own.api_key_id)
  assert.equal(await dataPlane(service, own.api_key_value), 200)
  const { live, plan, usage_plan_id } = await view(service, own)
  assert.deepEqual([live, plan, usage_plan_id], [true, 'gold', 'demogold'])
  const usage = usageSchema.parse(await (await manage(service, own, 'GET', '/usage')).json())
  assert.deepEqual([usage.days.at(-1)?.used, usage.limits.quota], [1, null])

  const next = rotatedSchema.parse(await (await rotate(service, own)).json())
  assert.deepEqual([next.plan, next.usage_plan_id], ['gold', 'demogold'])
  assert.deepEqual([...account.key(next.api_key_id).planIds], ['demogold'])
  const after = await view(service, own)
  assert.deepEqual([after.live, after.plan, after.usage_plan_id], [true, 'gold', 'demogold'])
})

test(
  'a key that was moved to a plan that the service does not offer is live if that plan opens the same API',
  long,
  async (t) => {
    const service = await startService(t)
    const [own, other] = [await registered(service), await registered(service)]
    const { account } = service.gateway
    const same = account.createPlan({ name: 'vip', apiStages: [{ apiId: 'demo', stage: 'prod' }] })
    const elsewhere = account.createPlan({ name: 'other', apiStages: [{ apiId: 'other', stage: 'prod' }] })
    for (const [{ api_key_id }, { id }] of [
      [own, same],
      [other, elsewhere],
    ] as const) {
      account.detach('demofree', api_key_id)
      account.attach(id, api_key_id)
    }
    // The operator allows the service the plan too.
    allowOnlyService(service.gateway, { AWS_REGION: 'eu-west-1', USAGE_PLANS: `vip=${same.id}` })
    const moved = await view(service, own)
    assert.deepEqual([moved.live, moved.plan, moved.usage_plan_id], [true, same.id, same.id])
    const next = rotatedSchema.parse(await (await rotate(service, own)).json())
    assert.equal(next.usage_plan_id, same.id)
    assert.equal(await dataPlane(service, next.api_key_value), 200)
    assert.equal((await rotate(service, own)).status, 201, 'and once more')

    assert.equal((await view(service, other)).live, false)
    assert.equal((await readProblem(await rotate(service, other))).code, 'registration_suspended')
  },
)

test(
  'a plan that was deleted and made anew under another id: usage responds, and a rotation brings a working key',
  long,
  async (t) => {
    const before = await startService(t, { env: { USAGE_PLANS: 'team=demogold' } })
    const own = await registered(before)
    const { account } = before.gateway
    account.plan('demogold').apiStages = []
    account.deletePlan('demogold')
    const { id } = account.createPlan({ name: 'team', apiStages: [{ apiId: 'demo', stage: 'prod' }] })

    assert.equal((await rotate(before, own)).status, 502, 'the configuration still has the old id')
    const service = await startService(t, { beside: before, env: { USAGE_PLANS: `team=${id}` } })
    assert.equal((await manage(service, own, 'GET', '/usage')).status, 200)
    const next = rotatedSchema.parse(await (await rotate(service, own)).json())
    assert.deepEqual([next.plan, next.usage_plan_id], ['team', id])
    assert.equal(await dataPlane(service, next.api_key_value), 200)
    assert.equal((await manage(service, own, 'GET', '/usage')).status, 200)
  },
)

test('a rotation takes the plan that the present configuration has under the name', async (t) => {
  const before = await startService(t, { env: { USAGE_PLANS: 'team=demogold' } })
  const own = await registered(before)
  const service = await startService(t, { beside: before, env: { USAGE_PLANS: 'team=demofree' } })
  const next = rotatedSchema.parse(await (await rotate(service, own)).json())
  assert.deepEqual([next.plan, next.usage_plan_id], ['team', 'demofree'])
})

test('with API_PROBE_PATH, a key is live if the API accepts it', async (t) => {
  const service = await startService(t, { env: { API_PROBE_PATH: '/' } })
  const own = await registered(service)
  const { live, ready } = await view(service, own)
  assert.deepEqual([live, ready], [true, true])
})

test('invariant 7: rotations that an owner repeats at once, or after a refusal, cost API Gateway few looks', async (t) => {
  const service = await startService(t, { gateway: { latency: { GetApiKey: 500 } } })
  const own = await registered(service)
  const looks = () => service.gateway.answers['GetApiKey']?.[200] ?? 0
  const flood = () => Promise.all(Array.from({ length: 10 }, () => rotate(service, own)))
  const statuses = (await flood()).map(({ status }) => status)
  assert.equal(statuses.filter((status) => status === 201).length, 1)
  assert.ok(looks() <= 2, `${looks()} looks at once`)
  const before = looks()
  assert.equal((await manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 })).status, 201)
  await flood()
  assert.equal(looks(), before + 1, 'none while an earlier key waits for its deletion')
})

test('after an operator enabled the key again, its owner can rotate it at once', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const key = service.gateway.account.key(own.api_key_id)
  key.enabled = false
  for (let i = 0; i < 2; i++)
    assert.equal((await readProblem(await rotate(service, own))).code, 'registration_suspended')
  key.enabled = true
  assert.equal((await rotate(service, own)).status, 201)
})
