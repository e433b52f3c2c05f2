import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FaultOrder } from '../../../emulator/faults.ts'
import {
  assertInvariants,
  fastTiming,
  type ReceivedCredential,
  runJobsUntilIdle,
} from '../../support/invariants.ts'
import { readProblem } from '../../support/problem.ts'
import { registerTogether } from '../../support/register-together.ts'
import { type Service, type ServiceOptions, startService } from '../../support/service.ts'

/** Returns the number of responses to an operation, of any status. */
function calls({ gateway }: Service, operation: string): number {
  return Object.values(gateway.answers[operation] ?? {}).reduce((sum, count) => sum + count, 0)
}

interface Answers {
  readonly received: ReceivedCredential[]
  readonly refused: Response[]
}

async function registerAtOnce(service: Service, secret: string, bodies: readonly object[]): Promise<Answers> {
  return sortAnswers(await Promise.all(bodies.map((body) => service.register(secret, body))))
}

async function sortAnswers(answers: readonly Response[]): Promise<Answers> {
  const received = answers
    .filter(({ status }) => status === 201)
    .map(async (one) => (await one.json()) as ReceivedCredential)
  return { received: await Promise.all(received), refused: answers.filter(({ status }) => status !== 201) }
}

const agents = (count: number, plan?: string) =>
  Array.from({ length: count }, (_, i) => ({ name: `agent-${i}`, ...(plan ? { plan } : {}) }))

async function assertAllWork(service: Service, received: readonly ReceivedCredential[]): Promise<void> {
  await assertInvariants(service.gateway, service.deps.store, received)
  for (const { api_key_value } of received) {
    const opened = await fetch(service.deps.config.apiBaseUrl, { headers: { 'x-api-key': api_key_value } })
    assert.equal(opened.status, 200)
  }
}

async function startBulk(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  return startService(t, { ...options, env: { MINT_MODE: 'bulk', ...options.env }, timing: fastTiming })
}

test('registrations that arrive during a mint are minted together, with one import and few calls', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const { received } = await sortAnswers(await registerTogether(service, secret, agents(60)))
  assert.equal(received.length, 60)
  await assertAllWork(service, received)
  assert.deepEqual([calls(service, 'CreateApiKey'), calls(service, 'ImportApiKeys')], [1, 1])
  const all = Object.keys(service.gateway.answers).reduce((sum, name) => sum + calls(service, name), 0)
  assert.ok(all <= 8, `${all} calls`)
})

test('a single registration is minted with two calls, without an import', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  for (let i = 0; i < 3; i++) assert.equal((await service.register(secret)).status, 201)
  await service.deps.mintQueue.settled()
  assert.equal(calls(service, 'ImportApiKeys'), 0)
  assert.deepEqual([calls(service, 'CreateApiKey'), calls(service, 'CreateUsagePlanKey')], [3, 3])
  assert.equal(calls(service, 'GetUsagePlanKeys'), 1, 'the first attach is verified after the response')
})

test('700 keys, more than one page, are imported and looked up', async (t) => {
  const service = await startService(t, {
    env: { MINT_MODE: 'bulk' },
    gateway: { latency: { ImportApiKeys: 1_000 } },
  })
  const { secret } = await service.token()
  const { received } = await registerAtOnce(service, secret, agents(700))
  assert.equal(received.length, 700)
  await assertInvariants(service.gateway, service.deps.store, received)
  assert.ok(calls(service, 'ImportApiKeys') <= 10)
})

test('registrations with different plans share a batch', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token({ plans: ['free', 'gold'] })
  const { received } = await registerAtOnce(service, secret, [...agents(5, 'free'), ...agents(5, 'gold')])
  assert.equal(received.length, 10)
  await assertAllWork(service, received)
  assert.equal(service.gateway.account.keysOn('demogold').length, 5)
})

test('names with characters that CSV must quote are imported unchanged', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  const names = ['a,b', 'say "hi"', '"', "it's", '=1+1', 'name;x', 'Zoë, 名前', '-', '"",""']
  const bodies = names.map((name) => ({ name, description: `of ${name}` }))
  const { received } = await registerAtOnce(service, secret, bodies)
  assert.equal(received.length, names.length)
  const keys = [...service.gateway.account.keys.values()]
  assert.deepEqual(keys.map(({ name }) => name.slice(name.indexOf(' ') + 1)).sort(), names.toSorted())
  assert.deepEqual(
    keys.map(({ description }) => description).sort(),
    names.map((name) => `of ${name}`).sort(),
  )
})

test('a plan that does not exist fails only its own registrations of a batch', async (t) => {
  const env = { USAGE_PLANS: 'free=demofree,broken=nosuchplan' }
  const service = await startBulk(t, { env })
  const { secret, token } = await service.token({ plans: ['free', 'broken'] })
  const bodies = [...agents(8, 'free'), ...agents(8, 'broken'), ...agents(8, 'free')]
  const { received, refused } = await registerAtOnce(service, secret, bodies)
  assert.equal(received.length, 16)
  for (const answer of refused) assert.equal((await readProblem(answer)).code, 'upstream_misconfigured')
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 16)
  await runJobsUntilIdle(service)
  await assertAllWork(service, received)
  assert.ok(calls(service, 'CreateApiKey') <= 2, 'one failed call is enough for the plan')
})

test('if the key quota is reached within a batch, those that fit succeed, and the others fail without leaving keys', async (t) => {
  const service = await startBulk(t, { gateway: { maxKeys: 10 } })
  const { secret, token } = await service.token()
  const { received, refused } = await registerAtOnce(service, secret, agents(24))
  assert.equal(received.length, 10)
  for (const answer of refused) assert.equal((await readProblem(answer)).code, 'key_quota_reached')
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 10)
  await runJobsUntilIdle(service)
  await assertAllWork(service, received)
})

test('an import whose response is lost is repeated, and creates no second key', async (t) => {
  for (const kind of ['cut', 'fail', 'hang'] as const) {
    const service = await startBulk(t)
    const { secret } = await service.token()
    service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'after', kind })
    const { received } = await registerAtOnce(service, secret, agents(6))
    assert.equal(received.length, 6, kind)
    await assertAllWork(service, received)
  }
})

test('imports that hang are repeated in smaller batches', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateApiKey: 100 } }, timing: fastTiming })
  const { secret } = await service.token()
  service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'after', kind: 'hang', times: 3 })
  const { received } = await registerAtOnce(service, secret, agents(6))
  assert.equal(received.length, 6)
  await assertAllWork(service, received)
})

test('imports that return 201 without attaching are repaired; repeated ones are logged once, and avoided for some time', async (t) => {
  const service = await startService(t)
  const { gateway, logLines } = service
  const { secret } = await service.token()
  const received: ReceivedCredential[] = []
  const burst = async () => {
    const answers = await sortAnswers(await registerTogether(service, secret, agents(6)))
    received.push(...answers.received)
  }
  const logged = (text: string) => logLines.filter((line) => line.includes(text)).length
  gateway.faults.order({ operation: 'ImportApiKeys', when: 'after', kind: 'unattached', times: 1_000 })
  await burst()
  assert.equal(received.length, 6)
  const once = calls(service, 'ImportApiKeys')
  assert.ok(once > 0)
  assert.deepEqual([logged('an import left keys'), logged('imports do not work')], [1, 0])
  await burst()
  const twice = calls(service, 'ImportApiKeys')
  assert.ok(twice > once, 'after one bad import the next is an import again')
  assert.equal(logged('imports do not work'), 1)
  await burst()
  assert.equal(calls(service, 'ImportApiKeys'), twice, 'no import while the circuit breaker is open')
  assert.equal(logged('imports do not work'), 1)
  assert.equal(received.length, 18)
  await assertAllWork(service, received)
})

const unsupported: FaultOrder['kind'][] = ['unsupported', 'refused']
for (const kind of unsupported) {
  test(`if imports are ${kind}, all registrations are minted singly, and the failure is logged once`, async (t) => {
    const service = await startService(t)
    const { secret } = await service.token()
    service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'before', kind, times: 1_000 })
    const { received } = await sortAnswers(await registerTogether(service, secret, agents(12)))
    assert.equal(received.length, 12)
    await assertAllWork(service, received)
    const imports = calls(service, 'ImportApiKeys')
    assert.ok(imports <= 6, `${imports} imports`)
    assert.equal(service.logLines.filter((line) => line.includes('imports do not work')).length, 1)
  })
}

test('MINT_MODE=single never imports', async (t) => {
  const service = await startService(t, {
    env: { MINT_MODE: 'single' },
    gateway: { latency: { CreateApiKey: 150, CreateUsagePlanKey: 150 } },
  })
  const { secret } = await service.token()
  const { received } = await registerAtOnce(service, secret, agents(6))
  assert.equal(received.length, 6)
  assert.equal(calls(service, 'ImportApiKeys'), 0)
  assert.equal(
    service.gateway.answers['CreateUsagePlanKey']?.[409],
    undefined,
    'attaches are made one after the other',
  )
})

test('MINT_MODE=bulk imports even a single registration', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  assert.equal((await service.register(secret)).status, 201)
  assert.deepEqual([calls(service, 'ImportApiKeys'), calls(service, 'CreateApiKey')], [1, 0])
})

test('invariant 3: a batch spends no more uses than its token has left; the others are rejected without cost', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token({ maxUses: 7 })
  const { received, refused } = await sortAnswers(await registerTogether(service, secret, agents(30)))
  assert.equal(received.length, 7)
  for (const answer of refused) assert.equal((await readProblem(answer)).code, 'token_uses_pending')
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 7)
  await assertAllWork(service, received)
})

test('invariant 4: duplicates within a batch get one key', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token({ maxUses: 2 })
  const keys = ['idempotency-key-a', 'idempotency-key-b']
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      service.register(secret, { name: 'agent' }, { 'idempotency-key': keys[i % 2] ?? '' }),
    ),
  )
  const bodies = new Set(await Promise.all(answers.map((answer) => answer.text())))
  assert.equal(bodies.size, 2)
  await assertAllWork(
    service,
    [...bodies].map((body) => JSON.parse(body) as ReceivedCredential),
  )
})

test('with MINT_MODE=bulk, registrations are minted singly if imports are unsupported', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  service.gateway.faults.order({
    operation: 'ImportApiKeys',
    when: 'before',
    kind: 'unsupported',
    times: 1_000,
  })
  const { received } = await registerAtOnce(service, secret, agents(4))
  assert.equal(received.length, 4)
  await assertAllWork(service, received)
})

test('invariant 2: an imported key is deleted if its repair is rejected', async (t) => {
  const service = await startBulk(t)
  const { gateway } = service
  const { secret, token } = await service.token()
  gateway.onCall = (operation, moment) => {
    if (operation !== 'ImportApiKeys' || moment !== 'effective') return
    for (const key of gateway.account.keys.values()) key.planIds.clear()
  }
  gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied', times: 100 })
  const { received, refused } = await registerAtOnce(service, secret, agents(4))
  assert.deepEqual([received.length, refused.length], [0, 4])
  await runJobsUntilIdle(service)
  await assertInvariants(gateway, service.deps.store, [])
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
})

test('one key that API Gateway rejects fails alone, even if its plan cannot be read at that moment', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateApiKey: 300 } } })
  const { secret } = await service.token()
  const { faults } = service.gateway
  const bad = { when: 'before', kind: 'refused', containing: 'a bad name', times: 1_000 } as const
  faults.order({ ...bad, operation: 'ImportApiKeys' })
  faults.order({ ...bad, operation: 'CreateApiKey' })
  faults.order({ operation: 'GetUsagePlan', when: 'before', kind: 'throttle', times: 1_000 })
  const first = service.register(secret)
  const names = ['a', 'b', 'a bad name', 'c']
  const all = await Promise.all(names.map((name) => service.register(secret, { name })))
  assert.equal((await first).status, 201)
  assert.deepEqual(
    all.map(({ status }) => status),
    [201, 201, 502, 201],
  )
})

test('registrations whose repair misses the deadline are undone together', async (t) => {
  const service = await startService(t, {
    env: { MINT_MODE: 'bulk', REGISTER_TIMEOUT_MS: '1500' },
    gateway: { latency: { CreateUsagePlanKey: 200, ImportApiKeys: 100 } },
    timing: { ...fastTiming, upstreamCall: 1_000 },
  })
  const { gateway } = service
  const { secret } = await service.token()
  const seen = new Set<string>()
  gateway.onCall = (operation, moment) => {
    if (operation !== 'ImportApiKeys' || moment !== 'effective') return
    for (const key of gateway.account.keys.values()) {
      if (!seen.has(key.id)) key.planIds.clear()
      seen.add(key.id)
    }
  }
  const { received, refused } = await registerAtOnce(service, secret, agents(40))
  assert.ok(refused.length > 20, `${refused.length} refused`)
  const lookUps = calls(service, 'GetApiKeys')
  await runJobsUntilIdle(service)
  await assertInvariants(gateway, service.deps.store, received)
  assert.ok(lookUps < 40, `${lookUps} look-ups`)
})
