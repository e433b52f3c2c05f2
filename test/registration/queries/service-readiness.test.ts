import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readProblem } from '../../support/problem.ts'
import { startService } from '../../support/service.ts'

test('/readyz is 502 while a plan has no API stage, whose keys open nothing, and names the plan but not its id', async (t) => {
  let now = Date.now()
  const { url, gateway } = await startService(t, { clock: () => now })
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
  now += 3_000
  assert.equal((await fetch(`${url}/readyz`)).status, 200)
})
