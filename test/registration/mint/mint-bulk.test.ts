import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { badRequest, tooManyRequests } from '../../../emulator/api-error.ts'
import type { FaultOrder } from '../../../emulator/faults.ts'
import { assertInvariants, fastTiming, type Given, settle } from '../../support/invariants.ts'
import { readProblem } from '../../support/problem.ts'
import { type Service, type ServiceOptions, startService } from '../../support/service.ts'

/** Calls of an operation that were answered, whatever the status. */
function calls({ gateway }: Service, operation: string): number {
  return Object.values(gateway.answers[operation] ?? {}).reduce((sum, count) => sum + count, 0)
}

/** The first of a burst goes alone; this lets the rest arrive while that is with API Gateway. */
const slowEnough: ServiceOptions = { gateway: { latency: { CreateApiKey: 150, CreateUsagePlanKey: 150 } } }

async function registerAtOnce(
  service: Service,
  secret: string,
  bodies: readonly object[],
): Promise<{ given: Given[]; refused: Response[] }> {
  const answers = await Promise.all(bodies.map((body) => service.register(secret, body)))
  const given = answers.filter(({ status }) => status === 201).map(async (one) => (await one.json()) as Given)
  return { given: await Promise.all(given), refused: answers.filter(({ status }) => status !== 201) }
}

const agents = (count: number, plan?: string) =>
  Array.from({ length: count }, (_, i) => ({ name: `agent-${i}`, ...(plan ? { plan } : {}) }))

async function assertAllWork(service: Service, given: readonly Given[]): Promise<void> {
  await assertInvariants(service.gateway, service.deps.store, given)
  for (const { api_key_value } of given) {
    const opened = await fetch(service.deps.config.apiBaseUrl, { headers: { 'x-api-key': api_key_value } })
    assert.equal(opened.status, 200)
  }
}

async function startBulk(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  return startService(t, { ...options, env: { MINT_MODE: 'bulk', ...options.env }, timing: fastTiming })
}

test('what arrives while one is with API Gateway goes together: one import, one look, and two commits', async (t) => {
  const service = await startService(t, slowEnough)
  const { secret } = await service.token()
  const { given } = await registerAtOnce(service, secret, agents(60))
  assert.equal(given.length, 60)
  await assertAllWork(service, given)
  assert.ok(calls(service, 'ImportApiKeys') <= 2, `${calls(service, 'ImportApiKeys')} imports`)
  assert.ok(calls(service, 'CreateApiKey') <= 1)
  const all = Object.keys(service.gateway.answers).reduce((sum, name) => sum + calls(service, name), 0)
  assert.ok(all <= 8, `${all} calls`)
})

test('one alone goes the two-call way, without an import and without waiting', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  for (let i = 0; i < 3; i++) assert.equal((await service.register(secret)).status, 201)
  await service.deps.mintQueue.settled()
  assert.equal(calls(service, 'ImportApiKeys'), 0)
  assert.deepEqual([calls(service, 'CreateApiKey'), calls(service, 'CreateUsagePlanKey')], [3, 3])
  assert.equal(calls(service, 'GetUsagePlanKeys'), 1, 'the first attach is looked at, after its answer')
})

test('more than one page: 700 keys are imported and looked up by their two name prefixes', async (t) => {
  const service = await startService(t, {
    env: { MINT_MODE: 'bulk' },
    gateway: { latency: { ImportApiKeys: 1_000 } },
  })
  const { secret } = await service.token()
  const { given } = await registerAtOnce(service, secret, agents(700))
  assert.equal(given.length, 700)
  await assertInvariants(service.gateway, service.deps.store, given)
  assert.ok(calls(service, 'ImportApiKeys') <= 4)
})

test('several plans share a batch', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token({ plans: ['free', 'gold'] })
  const { given } = await registerAtOnce(service, secret, [...agents(5, 'free'), ...agents(5, 'gold')])
  assert.equal(given.length, 10)
  await assertAllWork(service, given)
  assert.equal(service.gateway.account.keysOn('demogold').length, 5)
})

test('names that a CSV file would break on arrive as they are', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  const names = ['a,b', 'say "hi"', '"', "it's", '=1+1', 'name;x', 'Zoë, 名前', '-', '"",""']
  const bodies = names.map((name) => ({ name, description: `of ${name}` }))
  const { given } = await registerAtOnce(service, secret, bodies)
  assert.equal(given.length, names.length)
  const keys = [...service.gateway.account.keys.values()]
  assert.deepEqual(keys.map(({ name }) => name.slice(name.indexOf(' ') + 1)).sort(), names.toSorted())
  assert.deepEqual(
    keys.map(({ description }) => description).sort(),
    names.map((name) => `of ${name}`).sort(),
  )
})

test('a plan that does not exist fails its own registrations; the others of the batch do not notice', async (t) => {
  const env = { USAGE_PLANS: 'free=demofree,broken=nosuchplan' }
  const service = await startBulk(t, { env })
  const { secret, token } = await service.token({ plans: ['free', 'broken'] })
  const bodies = [...agents(8, 'free'), ...agents(8, 'broken'), ...agents(8, 'free')]
  const { given, refused } = await registerAtOnce(service, secret, bodies)
  assert.equal(given.length, 16)
  for (const answer of refused) assert.equal((await readProblem(answer)).code, 'upstream_misconfigured')
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 16)
  await settle(service)
  await assertAllWork(service, given)
  assert.ok(calls(service, 'CreateApiKey') <= 2, 'one told for all of the plan')
})

test('a full account: those that fit are served, the others told, and nothing is left over', async (t) => {
  const service = await startBulk(t, { gateway: { maxKeys: 10 } })
  const { secret, token } = await service.token()
  const { given, refused } = await registerAtOnce(service, secret, agents(24))
  assert.equal(given.length, 10)
  for (const answer of refused) assert.equal((await readProblem(answer)).code, 'key_quota_reached')
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 10)
  await settle(service)
  await assertAllWork(service, given)
})

test('an import whose answer is lost is made again, and makes no second key', async (t) => {
  for (const kind of ['cut', 'fail', 'hang'] as const) {
    const service = await startBulk(t)
    const { secret } = await service.token()
    service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'after', kind })
    const { given } = await registerAtOnce(service, secret, agents(6))
    assert.equal(given.length, 6, kind)
    await assertAllWork(service, given)
  }
})

test('imports that hang are tried in smaller parts', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateApiKey: 100 } }, timing: fastTiming })
  const { secret } = await service.token()
  service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'after', kind: 'hang', times: 3 })
  const { given } = await registerAtOnce(service, secret, agents(6))
  assert.equal(given.length, 6)
  await assertAllWork(service, given)
})

test('imports that answer 201 without attaching: repaired one at a time, said once, not trusted for a while', async (t) => {
  let now = Date.now()
  const service = await startService(t, { ...slowEnough, clock: () => now })
  const { gateway, logLines } = service
  const { secret } = await service.token()
  gateway.onCall = (operation, moment) => {
    if (operation !== 'ImportApiKeys' || moment !== 'effective') return
    for (const key of gateway.account.keys.values()) if (/agent-[1-9]/.test(key.name)) key.planIds.clear()
  }
  const first = await registerAtOnce(service, secret, agents(6))
  assert.equal(first.given.length, 6)
  await assertAllWork(service, first.given)
  const imports = calls(service, 'ImportApiKeys')
  assert.ok(imports > 0)
  const second = await registerAtOnce(service, secret, agents(6))
  assert.equal(second.given.length, 6)
  assert.equal(calls(service, 'ImportApiKeys'), imports, 'no import while they are not trusted')
  assert.equal(logLines.filter((line) => line.includes('imports do not work')).length, 1)

  now += service.deps.timing.distrust + 1
  gateway.onCall = () => undefined
  const third = await registerAtOnce(service, secret, agents(6))
  assert.equal(third.given.length, 6)
  assert.ok(calls(service, 'ImportApiKeys') > imports, 'tried again')
  await assertAllWork(service, [...first.given, ...second.given, ...third.given])
})

const unsupported: FaultOrder['kind'][] = ['unsupported', 'refused']
for (const kind of unsupported) {
  test(`a gateway whose imports are ${kind}: everybody is served one at a time, and it is said once`, async (t) => {
    const service = await startService(t, slowEnough)
    const { secret } = await service.token()
    service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'before', kind, times: 1_000 })
    const { given } = await registerAtOnce(service, secret, agents(12))
    assert.equal(given.length, 12)
    await assertAllWork(service, given)
    const imports = calls(service, 'ImportApiKeys')
    assert.ok(imports <= 6, `${imports} imports`)
    assert.equal(service.logLines.filter((line) => line.includes('imports do not work')).length, 1)
  })
}

test('MINT_MODE=single never imports', async (t) => {
  const service = await startService(t, { ...slowEnough, env: { MINT_MODE: 'single' } })
  const { secret } = await service.token()
  const { given } = await registerAtOnce(service, secret, agents(6))
  assert.equal(given.length, 6)
  assert.equal(calls(service, 'ImportApiKeys'), 0)
  assert.equal(service.gateway.answers['CreateUsagePlanKey']?.[409], undefined, 'one attach after the other')
})

test('MINT_MODE=bulk imports even one', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  assert.equal((await service.register(secret)).status, 201)
  assert.deepEqual([calls(service, 'ImportApiKeys'), calls(service, 'CreateApiKey')], [1, 0])
})

test('invariant 3: a batch spends no more than its token has, and refuses the rest at no cost', async (t) => {
  const service = await startService(t, slowEnough)
  const { secret, token } = await service.token({ maxUses: 7 })
  const { given, refused } = await registerAtOnce(service, secret, agents(30))
  assert.equal(given.length, 7)
  for (const answer of refused) assert.equal((await readProblem(answer)).code, 'token_exhausted')
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 7)
  await assertAllWork(service, given)
})

test('invariant 4: duplicates inside a batch get one key', async (t) => {
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
    [...bodies].map((body) => JSON.parse(body) as Given),
  )
})

test('MINT_MODE=bulk where imports are unsupported ends too: served by the two calls', async (t) => {
  const service = await startBulk(t)
  const { secret } = await service.token()
  service.gateway.faults.order({
    operation: 'ImportApiKeys',
    when: 'before',
    kind: 'unsupported',
    times: 1_000,
  })
  const { given } = await registerAtOnce(service, secret, agents(4))
  assert.equal(given.length, 4)
  await assertAllWork(service, given)
})

test('invariant 2: a key that an import made is not forgotten when its repair is refused', async (t) => {
  const service = await startBulk(t)
  const { gateway } = service
  const { secret, token } = await service.token()
  gateway.onCall = (operation, moment) => {
    if (operation !== 'ImportApiKeys' || moment !== 'effective') return
    for (const key of gateway.account.keys.values()) key.planIds.clear()
  }
  gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'denied', times: 100 })
  const { given, refused } = await registerAtOnce(service, secret, agents(4))
  assert.deepEqual([given.length, refused.length], [0, 4])
  await settle(service)
  await assertInvariants(gateway, service.deps.store, [])
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
})

test('one bad key is alone in its fault, also when its plan cannot be read just then', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateApiKey: 300 } } })
  const { secret } = await service.token()
  let imports = 0
  const first = service.register(secret)
  service.gateway.onCall = (operation, moment) => {
    if (operation === 'CreateApiKey' && moment === 'effective') {
      service.gateway.onCall = (called, at) => {
        if (at !== 'arrived') return
        // All four, two, one: the bad one is in all of them.
        if (called === 'ImportApiKeys' && ++imports <= 3) throw badRequest('a bad row')
        if (called === 'CreateApiKey') throw badRequest('a bad key')
        if (called === 'GetUsagePlan') throw tooManyRequests(1)
      }
    }
  }
  const all = await Promise.all(Array.from({ length: 4 }, () => service.register(secret)))
  assert.equal((await first).status, 201)
  assert.deepEqual(all.map(({ status }) => status).sort(), [201, 201, 201, 502])
})

test('a repair that the deadline ends is cleaned up together', async (t) => {
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
  const { given, refused } = await registerAtOnce(service, secret, agents(40))
  assert.ok(refused.length > 20, `${refused.length} refused`)
  const lookUps = calls(service, 'GetApiKeys')
  await settle(service)
  await assertInvariants(gateway, service.deps.store, given)
  assert.ok(lookUps < 40, `${lookUps} look-ups`)
})
