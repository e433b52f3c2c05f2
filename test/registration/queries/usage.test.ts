import assert from 'node:assert/strict'
import { test } from 'node:test'
import { usageSchema } from '../../../src/routes/usage-schema.ts'
import { rejectsOtherOwners } from '../../support/management-cases.ts'
import { readProblem } from '../../support/problem.ts'
import { dataPlane, manage, registered, startService } from '../../support/service.ts'

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
