import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import type { FaultOrder } from '../../emulator/faults.ts'
import type { GatewayOptions } from '../../emulator/options.ts'
import { assertInvariants, fastTiming, type ReceivedCredential } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import { manage, registered, type Service, type ServiceOptions, startService } from '../support/service.ts'

/** More calls than any test makes: the fault does not end. */
const forever = 1_000_000

function calls({ gateway }: Service, ...operations: string[]): number {
  const names = operations.length > 0 ? operations : Object.keys(gateway.answers)
  const counts = names.flatMap((name) => Object.values(gateway.answers[name] ?? {}))
  return counts.reduce((sum, count) => sum + count, 0)
}

/** Starts a service whose account has room for `room` keys. */
async function startFull(t: TestContext, room: number, options: ServiceOptions = {}): Promise<Service> {
  const service = await startService(t, { ...options, gateway: { maxKeys: 20, ...options.gateway } })
  for (let i = room; i < 20; i++) service.gateway.account.createKey({ name: `of another ${i}` })
  return service
}

const linesAbout = ({ logLines }: Service, text: string) => logLines.filter((line) => line.includes(text))
const found = (service: Service) => linesAbout(service, 'refusing them at once')
const ended = (service: Service) => linesAbout(service, 'admitted again')

async function refusedWith(answer: Response, code: string): Promise<number> {
  const problem = await readProblem(answer)
  assert.equal(problem.code, code)
  return Number(answer.headers.get('retry-after'))
}

async function readyCode({ url }: Service): Promise<string> {
  const answer = await fetch(`${url}/readyz`)
  if (answer.status !== 200) return (await readProblem(answer)).code
  return z.object({ status: z.string() }).parse(await answer.json()).status
}

for (const importOverQuota of ['limit', 'rows'] satisfies GatewayOptions['importOverQuota'][]) {
  for (const room of [0, 1, 7]) {
    test(`100 agents and room for ${room} (${importOverQuota}): exactly ${room} keys, by few calls; then nothing is tried until the probe`, async (t) => {
      const service = await startFull(t, room, { gateway: { importOverQuota } })
      const { secret, token } = await service.token()
      const startedAt = performance.now()
      const answers = await Promise.all(Array.from({ length: 100 }, () => service.register(secret)))
      const ms = performance.now() - startedAt
      const received = answers.filter(({ status }) => status === 201)
      assert.equal(received.length, room)
      for (const answer of answers) {
        if (answer.status === 201) continue
        const retryAfter = await refusedWith(answer, 'key_quota_reached')
        assert.ok(retryAfter >= 1 && retryAfter <= 5, `Retry-After: ${retryAfter}`)
      }
      const credentials = await Promise.all(received.map((one) => one.json() as Promise<ReceivedCredential>))
      for (const { api_key_id } of credentials) assert.ok(service.gateway.account.key(api_key_id))
      assert.equal(service.gateway.account.keys.size, 20)
      assert.equal((await service.deps.store.getToken(token.id))?.uses, room)
      const tries = calls(service, 'ImportApiKeys', 'CreateApiKey')
      assert.ok(tries <= 16, `${tries} tries`)
      const imported = service.gateway.answers['ImportApiKeys']?.[201] ?? 0
      assert.equal(calls(service, 'GetApiKeys'), imported, 'nothing that was refused has to be looked up')
      assert.ok(ms < 10_000, `${ms} ms`)

      const before = calls(service)
      const alone = await service.register(secret, undefined, { 'idempotency-key': randomUUID() })
      await refusedWith(alone, 'key_quota_reached')
      assert.equal(calls(service), before)
      assert.equal(await readyCode(service), 'key_quota_reached')
      assert.equal(found(service).length, 1, 'logged once')
    })
  }
}

test('a full account: one alone costs one call; after Retry-After one request is let through, and no second one', async (t) => {
  const service = await startFull(t, 0, { timing: { faultProbe: 1_000, faultProbeLongest: 60_000 } })
  const { secret } = await service.token()
  const seconds = await refusedWith(await service.register(secret), 'key_quota_reached')
  assert.equal(seconds, 1)
  assert.deepEqual(service.gateway.answers, { CreateApiKey: { 429: 1 } })
  await sleep(seconds * 1_000)
  const answers = await Promise.all(Array.from({ length: 10 }, () => service.register(secret)))
  for (const answer of answers) await refusedWith(answer, 'key_quota_reached')
  assert.equal(calls(service, 'CreateApiKey', 'ImportApiKeys'), 2)
  assert.equal(linesAbout(service, '"level":"error"').length, 1, 'logged once, not for each request')
  const after = await refusedWith(await service.register(secret), 'key_quota_reached')
  assert.ok(after >= 1 && after <= 2, `${after}: the time between probes grows`)
})

test('a full account: a success of a probe ends the fault', async (t) => {
  const service = await startFull(t, 0, { timing: { faultProbe: 50, faultProbeLongest: 60_000 } })
  const { secret } = await service.token()
  await refusedWith(await service.register(secret), 'key_quota_reached')
  const [foreign = ''] = service.gateway.account.keys.keys()
  service.gateway.account.deleteKey(foreign)
  await sleep(60)
  assert.equal(await readyCode(service), 'key_quota_reached')
  assert.equal((await service.register(secret)).status, 201)
  assert.equal(await readyCode(service), 'ready')
  assert.equal(ended(service).length, 1)
})

test('a full account: a deletion by this service makes room at once', async (t) => {
  const service = await startFull(t, 1)
  const { secret } = await service.token()
  const own = await registered(service, {}, {}, secret)
  await refusedWith(await service.register(secret), 'key_quota_reached')
  assert.equal((await manage(service, own, 'DELETE')).status, 204)
  assert.equal(await readyCode(service), 'ready')
  assert.equal((await service.register(secret)).status, 201)
  assert.equal(ended(service).length, 1)
})

test('a full account: a rotation is refused in the same way, and the key stays', async (t) => {
  const service = await startFull(t, 1)
  const own = await registered(service)
  const rotate = () => manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 })
  for (let i = 0; i < 2; i++) await refusedWith(await rotate(), 'key_quota_reached')
  assert.equal((await manage(service, own, 'GET')).status, 200)
})

const ofAPlan: [title: string, fault: FaultOrder][] = [
  ['CreateApiKey is denied', { operation: 'CreateApiKey', when: 'before', kind: 'denied', times: forever }],
  [
    'CreateUsagePlanKey is denied',
    { operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied', times: forever },
  ],
]
for (const [title, fault] of ofAPlan) {
  test(`if ${title}, requests are refused without a call after some failures, until a probe succeeds`, async (t) => {
    const service = await startService(t, { timing: { faultProbe: 300 } })
    const { secret, token } = await service.token()
    service.gateway.faults.order(fault)
    for (let i = 0; i < 3; i++) await refusedWith(await service.register(secret), 'upstream_misconfigured')
    await service.deps.inFlight.settled()
    const before = calls(service)
    assert.equal((await service.register(secret)).status, 502)
    assert.equal(calls(service), before)
    assert.equal(await readyCode(service), 'upstream_misconfigured')
    assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
    service.gateway.faults.clear()
    await sleep(310)
    assert.equal((await service.register(secret)).status, 201)
    assert.equal(await readyCode(service), 'ready')
    assert.deepEqual([found(service).length, ended(service).length], [1, 1])
  })
}

test('a plan that is gone fails only its own requests, and after the first one without a call', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token({ plans: ['gold', 'free'] })
  service.gateway.account.plans.delete('demogold')
  const gold = () => service.register(secret, { name: 'a', plan: 'gold' })
  await refusedWith(await gold(), 'upstream_misconfigured')
  await service.deps.inFlight.settled()
  const before = calls(service)
  await refusedWith(await gold(), 'upstream_misconfigured')
  assert.equal(calls(service), before)
  assert.equal((await service.register(secret, { name: 'a', plan: 'free' })).status, 201)
  await refusedWith(await gold(), 'upstream_misconfigured')
})

for (const kind of ['fail', 'hang', 'cut', 'throttle', 'expired'] as const) {
  test(`if API Gateway does not work (${kind}), requests are refused at once after some failures, until a probe succeeds`, async (t) => {
    const timing = { ...fastTiming, faultProbe: 2_000, faultProbeLongest: 60_000 }
    const service = await startService(t, { timing })
    const { secret, token } = await service.token()
    const times = forever
    for (const operation of ['CreateApiKey', 'ImportApiKeys'] as const)
      service.gateway.faults.order({ operation, when: 'before', kind, times })
    for (let i = 0; i < 3; i++) assert.equal((await service.register(secret)).status, 503)
    await service.deps.inFlight.settled()
    const before = calls(service)
    const startedAt = performance.now()
    const answers = await Promise.all(Array.from({ length: 20 }, () => service.register(secret)))
    const ms = performance.now() - startedAt
    const code = kind === 'throttle' ? 'upstream_throttled' : 'upstream_unavailable'
    let seconds = 0
    for (const answer of answers) seconds = await refusedWith(answer, code)
    assert.ok(seconds >= 1, `Retry-After: ${seconds}`)
    assert.ok(ms < 1_500, `${ms} ms`)
    assert.equal(calls(service), before)
    assert.equal(await readyCode(service), code)
    service.gateway.faults.clear()
    await sleep(2_000)
    assert.equal((await service.register(secret)).status, 201)
    assert.equal(await readyCode(service), 'ready')
    assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
    assert.deepEqual([found(service).length, ended(service).length], [1, 1])
    await assertInvariants(service.gateway, service.deps.store, [])
  })
}

test('an API Gateway that hangs costs the whole deadline three times, and then nothing but the probe', async (t) => {
  const timing = { ...fastTiming, upstreamCall: 6_000, faultProbe: 60_000, faultProbeLongest: 60_000 }
  const service = await startService(t, { timing, env: { REGISTER_TIMEOUT_MS: '1000' } })
  const { secret } = await service.token()
  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'hang', times: forever })
  for (let i = 0; i < 3; i++) {
    assert.equal((await service.register(secret)).status, 503)
    await service.deps.inFlight.settled()
  }
  const before = calls(service)
  const startedAt = performance.now()
  const seconds = await refusedWith(await service.register(secret), 'upstream_unavailable')
  assert.ok(seconds > 50 && seconds <= 60, `Retry-After: ${seconds}`)
  assert.ok(performance.now() - startedAt < 900)
  assert.equal(calls(service), before)
})

test('requests that wait in the queue when a fault is found are refused, without a call of their own', async (t) => {
  const service = await startFull(t, 0, {
    env: { MINT_MODE: 'single' },
    gateway: { latency: { CreateApiKey: 300 } },
  })
  const { secret } = await service.token()
  const answers = await Promise.all(Array.from({ length: 50 }, () => service.register(secret)))
  for (const answer of answers) await refusedWith(answer, 'key_quota_reached')
  assert.ok(calls(service, 'CreateApiKey') <= 4, `${calls(service, 'CreateApiKey')} calls`)
  assert.equal(found(service).length, 1)
})

test('a fault that no request has met for a while is forgotten: /readyz must not keep away the request that would end it', async (t) => {
  const service = await startFull(t, 0, { timing: { faultProbe: 500, faultProbeLongest: 1_500 } })
  const { secret } = await service.token()
  await refusedWith(await service.register(secret), 'key_quota_reached')
  assert.equal(await readyCode(service), 'key_quota_reached')
  await sleep(2_100)
  assert.equal(await readyCode(service), 'ready')
})

test('keys that API Gateway rejects for their content concern no other request', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'refused', times: 5 })
  for (let i = 0; i < 5; i++) assert.notEqual((await service.register(secret)).status, 201)
  assert.equal(calls(service, 'CreateApiKey'), 5)
  assert.equal(await readyCode(service), 'ready')
  assert.equal((await service.register(secret)).status, 201)
})

test('clients that left concern no other request', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateApiKey: 100 } } })
  const { secret } = await service.token()
  service.gateway.onCall = (operation) => operation === 'CreateApiKey' && client.abort()
  let client = new AbortController()
  for (let i = 0; i < 4; i++) {
    client = new AbortController()
    const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }
    const body = '{"name":"acme-agent"}'
    await assert.rejects(
      fetch(`${service.url}/register`, { method: 'POST', headers, body, signal: client.signal }),
    )
    await service.deps.inFlight.settled()
  }
  assert.equal(await readyCode(service), 'ready')
  assert.equal((await service.register(secret)).status, 201)
})
