import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FaultOrder } from '../../../emulator/faults.ts'
import { assertInvariants, type ReceivedCredential } from '../../support/invariants.ts'
import { long } from '../../support/long.ts'
import { readProblem } from '../../support/problem.ts'
import { dataPlane, type Service, type ServiceOptions, startService } from '../../support/service.ts'

const forever = 1_000_000

interface Answer {
  readonly status: number
  readonly body: unknown
  readonly ms: number
}

/** Starts a service whose registrations are imported, and registers `count` agents at once. */
async function burst(service: Service, secret: string, count: number): Promise<Answer[]> {
  const since = performance.now()
  return Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const answer = await service.register(secret, { name: `agent-${i}` })
      return { status: answer.status, body: await answer.json(), ms: performance.now() - since }
    }),
  )
}

function startBulk(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  return startService(t, { ...options, env: { MINT_MODE: 'bulk', ...options.env } })
}

/** Asserts that all were answered, and that every key is enabled and on its plan, and opens the API. */
async function assertAllWork(service: Service, answers: readonly Answer[]): Promise<void> {
  assert.deepEqual(
    answers.filter(({ status }) => status !== 201),
    [],
  )
  const received = answers.map(({ body }) => body as ReceivedCredential)
  await assertInvariants(service.gateway, service.deps.store, received)
  for (const { api_key_value } of received) assert.equal(await dataPlane(service, api_key_value), 200)
}

const calls = ({ gateway }: Service, operation: string) =>
  Object.values(gateway.answers[operation] ?? {}).reduce((sum, count) => sum + count, 0)
const warnings = ({ logLines }: Service) =>
  logLines.filter((line) => /imports do not work|an import left/.test(line))

for (const operation of ['GetUsagePlanKeys', 'GetApiKeys'] as const) {
  test(
    `a key of twenty that ${operation} shows late is late, not wrong: no key is deleted, and imports stay trusted`,
    long,
    async (t) => {
      const service = await startBulk(t)
      const { secret } = await service.token()
      const late: FaultOrder = { operation, when: 'after', kind: 'late', every: 20, ms: 2_000 }
      service.gateway.faults.order({ ...late, times: forever })
      const answers = await burst(service, secret, 20)
      await assertAllWork(service, answers)
      const times = answers.map(({ ms }) => ms).sort((a, b) => a - b)
      const [before, last] = times.slice(-2)
      assert.ok(
        before !== undefined && last !== undefined && last - before > 500,
        `the others did not wait: ${times}`,
      )
      assert.equal(calls(service, 'DeleteApiKey'), 0)
      assert.deepEqual(warnings(service), [])
      service.gateway.faults.clear()
      const imports = calls(service, 'ImportApiKeys')
      const next = await burst(service, secret, 50)
      await assertAllWork(service, [...answers, ...next])
      assert.ok(calls(service, 'ImportApiKeys') > imports)
      assert.equal(calls(service, 'CreateApiKey'), 0)
    },
  )
}

test('all keys of an import that are shown late are completed as soon as they are shown', long, async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  for (const operation of ['GetUsagePlanKeys', 'GetApiKeys'] as const)
    service.gateway.faults.order({ operation, when: 'after', kind: 'late', ms: 1_500, times: forever })
  const answers = await burst(service, secret, 200)
  await assertAllWork(service, answers)
  assert.equal(calls(service, 'DeleteApiKey'), 0)
  assert.ok(calls(service, 'CreateUsagePlanKey') <= calls(service, 'ImportApiKeys'), 'only the samples')
  assert.deepEqual(warnings(service), [])
})

test('a look that fails for a moment is repeated', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  for (const operation of ['GetUsagePlanKeys', 'GetApiKeys'] as const)
    service.gateway.faults.order({ operation, when: 'before', kind: 'fail', times: 3 })
  await assertAllWork(service, await burst(service, secret, 30))
  assert.equal(calls(service, 'DeleteApiKey'), 0)
})

test('invariant 1: imported keys that are not enabled are enabled before the response, and imports distrusted if that repeats', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  service.gateway.faults.order({
    operation: 'ImportApiKeys',
    when: 'after',
    kind: 'disabled',
    times: forever,
  })
  const answers = await burst(service, secret, 10)
  await assertAllWork(service, answers)
  assert.equal(calls(service, 'UpdateApiKey'), 10)
  assert.deepEqual([calls(service, 'CreateApiKey'), calls(service, 'DeleteApiKey')], [0, 0])
  assert.ok(warnings(service).length > 0)
})

test('an imported key that cannot be enabled fails alone, and is deleted', async (t) => {
  const service = await startBulk(t)
  const { secret, token } = await service.token()
  const { faults } = service.gateway
  faults.order({ operation: 'ImportApiKeys', when: 'after', kind: 'disabled', every: 5, times: forever })
  faults.order({ operation: 'UpdateApiKey', when: 'before', kind: 'denied', times: forever })
  const answers = await burst(service, secret, 10)
  const refused = answers.filter(({ status }) => status !== 201)
  assert.deepEqual(
    refused.map(({ body }) => (body as { code: string }).code),
    ['upstream_misconfigured', 'upstream_misconfigured'],
  )
  await assertAllWork(
    service,
    answers.filter(({ status }) => status === 201),
  )
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 8)
})

test('imports that leave a few keys off their plan are repaired and stay in use', long, async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  const unattached: FaultOrder = { operation: 'ImportApiKeys', when: 'after', kind: 'unattached', every: 10 }
  service.gateway.faults.order({ ...unattached, times: forever })
  const answers = []
  for (let n = 0; n < 3; n++) answers.push(...(await burst(service, secret, 20)))
  await assertAllWork(service, answers)
  assert.equal(calls(service, 'CreateApiKey'), 0)
  assert.ok(!service.logLines.some((line) => line.includes('imports do not work')))
  assert.ok(service.logLines.some((line) => line.includes('an import left keys')))
})

test('invariant 8: a key that is never shown is undone within the time of the request', long, async (t) => {
  const service = await startBulk(t, { env: { REGISTER_TIMEOUT_MS: '2000' } })
  const { secret, token } = await service.token()
  const never: FaultOrder = {
    operation: 'GetUsagePlanKeys',
    when: 'after',
    kind: 'late',
    every: 10,
    ms: 3_600_000,
  }
  service.gateway.faults.order({ ...never, times: forever })
  const answers = await Promise.all(Array.from({ length: 10 }, () => service.register(secret)))
  const refused = answers.filter(({ status }) => status !== 201)
  assert.equal(refused.length, 1)
  for (const answer of refused) assert.ok((await readProblem(answer)).retryable)
  await service.deps.inFlight.settled()
  assert.equal(service.gateway.account.keys.size, 9)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 9)
})
