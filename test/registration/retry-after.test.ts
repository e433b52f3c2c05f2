import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { long } from '../support/long.ts'
import { readProblem } from '../support/problem.ts'
import { startService } from '../support/service.ts'

const WITH_KEY = { 'idempotency-key': randomUUID() }

async function retryAfterOf(answer: Response): Promise<[code: string, seconds: number | undefined]> {
  const { code, retry_after } = await readProblem(answer)
  return [code, retry_after]
}

test('after a failure that is undone, Retry-After is that of the failure; after one that is left to recovery, it is later', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token({ maxUses: 1 })
  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'fail', times: 3 })
  assert.deepEqual(await retryAfterOf(await service.register(secret)), ['upstream_unavailable', 5])
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
  service.gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'fail', times: 9 })
  service.gateway.faults.order({ operation: 'GetApiKeys', when: 'before', kind: 'fail', times: 9 })
  // A round of recovery (2 s), a call of API Gateway (6 s), and a deletion.
  assert.deepEqual(await retryAfterOf(await service.register(secret)), ['upstream_unavailable', 9])
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
})

test(
  'at the deadline, Retry-After leaves time for the undoing, unless a retry can join the work',
  long,
  async (t) => {
    const service = await startService(t, {
      env: { MINT_MODE: 'single', REGISTER_TIMEOUT_MS: '1000' },
      gateway: { latency: { CreateUsagePlanKey: 2_000 } },
    })
    const { secret } = await service.token()
    const both = [service.register(secret), service.register(secret, undefined, WITH_KEY)]
    assert.deepEqual(await Promise.all(both.map(async (one) => retryAfterOf(await one))), [
      ['upstream_unavailable', 20],
      ['upstream_unavailable', 5],
    ])
  },
)
