import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createServiceReadiness } from '../../../src/registration/queries/service-readiness.ts'
import { readProblem } from '../../support/problem.ts'
import { startService } from '../../support/service.ts'

test('/readyz is 502 while a plan has no API stage, whose keys open nothing, and names the plan but not its id', async (t) => {
  const service = await startService(t)
  const { url, gateway } = service
  const gold = gateway.account.plan('demogold')
  const { apiStages } = gold
  gold.apiStages = []
  const answer = await fetch(`${url}/readyz`)
  assert.equal(answer.status, 502)
  const { code, detail } = await readProblem(answer)
  assert.equal(code, 'upstream_misconfigured')
  assert.match(detail, /"gold" has no API stage/)
  assert.doesNotMatch(detail, /demogold/)

  gold.apiStages = apiStages
  const other = await startService(t, { beside: service }) // Without a result that it could reuse.
  assert.equal((await fetch(`${other.url}/readyz`)).status, 200)
})

test('/readyz is 502 while a limit of a plan is 0, with which its keys open nothing', async (t) => {
  const service = await startService(t)
  const free = service.gateway.account.plan('demofree')
  for (const [change, limit] of [
    [{ throttle: { rateLimit: 0, burstLimit: 5 } }, 'rate'],
    [{ throttle: { rateLimit: 5, burstLimit: 0 } }, 'burst'],
    [{ throttle: {}, quota: { limit: 0, period: 'DAY' } }, 'quota'],
  ] as const) {
    Object.assign(free, change)
    const { url } = await startService(t, { beside: service })
    const { code, detail } = await readProblem(await fetch(`${url}/readyz`))
    assert.equal(code, 'upstream_misconfigured')
    assert.match(detail, RegExp(`"free" has a ${limit} of 0`))
  }
})

test('a result is reused for 10 seconds, a failure for 2', async () => {
  let [now, calls, fails] = [0, 0, false]
  const ask = async () => {
    calls += 1
    if (fails) throw new Error('not ready')
  }
  const { check } = createServiceReadiness({ known: [], asked: [ask], now: () => now })
  await Promise.all(Array.from({ length: 20 }, check))
  now = 9_999
  await check()
  assert.equal(calls, 1)
  now = 10_000
  fails = true
  await assert.rejects(check())
  fails = false
  now = 11_999
  await assert.rejects(check())
  now = 12_000
  await check()
  assert.equal(calls, 3)
})
