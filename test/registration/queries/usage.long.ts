import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deleteDueKeys } from '../../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../../src/registration/jobs/leader-lease.ts'
import { usageSchema } from '../../../src/routes/usage-schema.ts'
import { fastTiming } from '../../support/invariants.ts'
import { rejectsOtherOwners } from '../../support/management-cases.ts'
import { readProblem } from '../../support/problem.ts'
import {
  dataPlane,
  manage,
  type Registered,
  registered,
  type Service,
  startService,
} from '../../support/service.ts'

rejectsOtherOwners('GET /register/{id}/usage', ({ url }, { registration_id }, authorization) =>
  fetch(`${url}/register/${registration_id}/usage`, {
    headers: authorization === null ? {} : { authorization },
  }),
)

const today = () => new Date().toISOString().slice(0, 10)

test('usage covers a week up to today by default, with the limits of the plan and the age of the figures', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  for (let i = 0; i < 3; i++) assert.equal(await dataPlane(service, own.api_key_value), 200)
  const before = today()
  const answer = await manage(service, own, 'GET', '/usage')
  assert.equal(answer.status, 200)
  const usage = usageSchema.parse(await answer.json())
  if (before !== today()) return t.skip('midnight')
  assert.equal(usage.to, today())
  assert.equal(usage.days.length, 7)
  assert.deepEqual(usage.days.at(-1), { date: today(), used: 3, remaining: 997 })
  assert.equal(usage.days[0]?.date, usage.from)
  assert.deepEqual(usage.limits, {
    requests_per_second: 5,
    burst: 10,
    quota: { requests: 1_000, period: 'DAY' },
  })
  assert.equal(usage.may_lag_seconds, 1_800)
})

test('after a rotation the usage of both keys is added up, and a plan without a quota has no remaining requests', async (t) => {
  const service = await startService(t, { env: { USAGE_PLANS: 'gold=demogold' } })
  const own = await registered(service)
  assert.equal(await dataPlane(service, own.api_key_value), 200)
  const rotated = await manage(service, own, 'POST', '/rotate', {})
  const { api_key_value: next } = (await rotated.json()) as { api_key_value: string }
  assert.equal(await dataPlane(service, next), 200)
  const day = today()
  const answer = await manage(service, own, 'GET', `/usage?from=${day}&to=${day}`)
  const usage = usageSchema.parse(await answer.json())
  assert.deepEqual(usage.days, [{ date: day, used: 2, remaining: null }])
  assert.deepEqual(usage.limits, { requests_per_second: null, burst: null, quota: null })
})

test('the usage counts all keys of a registration, also those that are deleted', async (t) => {
  const service = await startService(t, { timing: { ...fastTiming, usageReuse: 1 } })
  const own = await registered(service)
  const leaderLease = createLeaderLease(service.deps)
  const day = today()
  const used = async () => {
    const answer = await manage(service, own, 'GET', `/usage?from=${day}&to=${day}`)
    return usageSchema.parse(await answer.json()).days[0]
  }
  let key = own.api_key_value
  for (let requests = 1; requests <= 3; requests++) {
    assert.equal(await dataPlane(service, key), 200)
    const rotated = await manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 })
    key = ((await rotated.json()) as { api_key_value: string }).api_key_value
    assert.deepEqual(await used(), { date: day, used: requests, remaining: 1_000 - requests })
    await deleteDueKeys(service.deps, leaderLease)
    assert.equal(service.gateway.account.keys.size, 1)
    assert.deepEqual(await used(), { date: day, used: requests, remaining: 1_000 - requests })
  }
})

test('a key whose usage cannot be read is deleted all the same, and one that is revoked without a look', async (t) => {
  const service = await startService(t, { timing: fastTiming })
  const own = await registered(service)
  assert.equal((await manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 })).status, 201)
  const looks = service.gateway.answers['GetUsage']?.[200]
  service.gateway.faults.order({ operation: 'GetUsage', when: 'before', kind: 'hang', times: 9 })
  await deleteDueKeys(service.deps, createLeaderLease(service.deps))
  assert.ok(!service.gateway.account.keys.has(own.api_key_id))
  assert.equal((await manage(service, own, 'DELETE')).status, 204)
  assert.equal(service.gateway.account.keys.size, 0)
  assert.equal(service.gateway.answers['GetUsage']?.[200], looks)
})

test('an invalid range for the usage is rejected', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  for (const query of [
    'from=2026-02-30',
    'from=yesterday',
    'from=2026-03-02&to=2026-03-01',
    'from=2026-01-01&to=2026-04-01',
    'to=2999-01-01',
    'to=0000-01-01',
    'from=2014-12-31&to=2015-01-02',
    'since=2026-01-01',
  ]) {
    const answer = await manage(service, own, 'GET', `/usage?${query}`)
    assert.equal(answer.status, 400, query)
    assert.equal((await readProblem(answer)).code, 'invalid_request')
  }
  assert.equal(service.gateway.answers['GetUsage'], undefined)
})

/** Reads the usage of `days` days up to today. */
function readDays(service: Service, own: Registered, days: number): Promise<Response> {
  const from = new Date(Date.now() - (days - 1) * 86_400_000).toISOString().slice(0, 10)
  return manage(service, own, 'GET', `/usage?from=${from}`)
}

test('invariant 7: an owner that polls reads API Gateway once, and is told how old the figures are', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now })
  const own = await registered(service)
  const readAt = async (answer: Response) => usageSchema.parse(await answer.json()).read_at
  const first = await Promise.all(Array.from({ length: 30 }, () => readDays(service, own, 2).then(readAt)))
  now += 30_000
  const later = await readAt(await readDays(service, own, 2))
  assert.deepEqual(new Set([...first, later]), new Set([new Date(now - 30_000).toISOString()]))
  assert.deepEqual(service.gateway.answers['GetUsage'], { 200: 1 })
})

test('if API Gateway fails, the last figures stand in for half an hour', async (t) => {
  const service = await startService(t, { timing: { usageReuse: 1 } })
  const own = await registered(service)
  const first = usageSchema.parse(await (await readDays(service, own, 2)).json())
  service.gateway.faults.order({ operation: 'GetUsage', when: 'before', kind: 'denied', times: 2 })
  const second = usageSchema.parse(await (await readDays(service, own, 2)).json())
  assert.deepEqual(second, first)
  assert.equal((await readDays(service, own, 3)).status, 502, 'there are no other figures of these days')
})

test('invariant 7: owners that poll many ranges delay neither the end of a key nor the usage of another', async (t) => {
  let now = Date.now()
  const service = await startService(t, {
    ...{ clock: () => now, env: { AWS_CALLS_PER_SECOND: '10' }, gateway: { quotas: true } },
  })
  const polling: Registered[] = []
  for (let i = 0; i < 5; i++) polling.push(await registered(service))
  const other = await registered(service)
  const expiring = await registered(service, { keyTtlMs: 30_000 })
  now += 30_000
  const arrived = Promise.withResolvers<void>()
  let missing = 100
  service.app.server.on('request', () => {
    missing -= 1
    if (missing === 0) arrived.resolve()
  })
  const polls = polling.flatMap((own) => Array.from({ length: 20 }, (_, i) => readDays(service, own, i + 2)))
  await arrived.promise
  await fetch(`${service.url}/livez`) // By its answer, the polls before it are waiting for their calls.
  const startedAt = performance.now()
  await deleteDueKeys(service.deps, createLeaderLease(service.deps))
  assert.ok(!service.gateway.account.keys.has(expiring.api_key_id))
  const deletedAfter = performance.now() - startedAt
  const answer = await readDays(service, other, 2)
  const readAfter = performance.now() - startedAt - deletedAfter
  t.diagnostic(`deleted after ${deletedAfter} ms, read after ${readAfter} ms more`)
  assert.ok(deletedAfter < 3_000, `deleted after ${deletedAfter} ms`)
  assert.equal(answer.status, 200)
  await Promise.all(polls)
})

for (const [operation, kind] of [
  ['GetUsage', 'unimplemented'],
  ['GetUsage', 'unsupported'],
  ['GetUsage', 'garbled'],
  ['GetUsagePlans', 'unimplemented'],
] as const)
  test(`where ${operation} is not available (${kind}), the usage is 501 and final, and the log says it once`, async (t) => {
    const service = await startService(t, { timing: fastTiming })
    const own = await registered(service)
    service.gateway.faults.order({ operation, when: 'before', kind, times: 1_000_000 })
    for (let days = 2; days <= 4; days++) {
      const answer = await readDays(service, own, days)
      assert.equal(answer.status, 501)
      assert.ok(!answer.headers.has('retry-after'))
      const { code, retryable } = await readProblem(answer)
      assert.deepEqual([code, retryable], ['upstream_unsupported', false])
    }
    const status = await manage(service, own, 'GET')
    assert.equal(status.status, 200)
    if (operation === 'GetUsage') {
      const rotated = await manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 })
      assert.equal(rotated.status, 201, 'a rotation does without the usage')
      await deleteDueKeys(service.deps, createLeaderLease(service.deps))
      assert.ok(!service.gateway.account.keys.has(own.api_key_id))
    }
    const noise = service.logLines.filter((line) => /"level":"(warn|error)"/.test(line))
    assert.equal(noise.length, 1, noise.join('\n'))
    assert.match(noise[0] ?? '', /API Gateway lacks an operation/)
  })
