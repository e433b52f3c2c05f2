import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { defaultGatewayOptions } from '../../../emulator/options.ts'
import { settleDoubts } from '../../../src/registration/jobs/settle-doubts.ts'
import { keyName, registrationIdOfPoolKey, rotationIdOfPoolKey } from '../../../src/registration/key-names.ts'
import { suspend } from '../../../src/registration/suspend.ts'
import { ACCEPTED_PROBES } from '../../../src/registration/used-by-caller.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { FROM_THE_POOL } from '../../../src/store/pool.ts'
import { startFederated } from '../../support/identity/federated.ts'
import { runJobsUntilIdle } from '../../support/invariants.ts'
import { readProblem } from '../../support/problem.ts'
import {
  dataPlane,
  manage,
  type Registered,
  registered,
  registeredSchema,
  type Service,
  startService,
} from '../../support/service.ts'
import { stockedPool } from '../../support/stocked-pool.ts'

/** The operations that API Gateway received so far. */
const operations = ({ gateway }: Service) => gateway.calls.map(({ operation }) => operation)

async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await sleep(5)
}

async function parsed(answer: Response): Promise<Registered & { ready?: boolean }> {
  const body = await answer.text()
  assert.equal(answer.status, 201, body)
  return registeredSchema.parse(JSON.parse(body))
}

const rotatedSchema = registeredSchema
  .omit({ management: true })
  .extend({ ready: z.boolean().optional(), replaced: z.object({ api_key_id: z.string() }) })

async function rotate(service: Service, own: Registered) {
  const answer = await manage(service, own, 'POST', '/rotate', { overlap_seconds: 60 })
  const body = await answer.text()
  assert.equal(answer.status, 201, body)
  return rotatedSchema.parse(JSON.parse(body))
}

/**
 * Holds requests until there are `count`, then lets them join the queue in one turn of the event loop, as when requests of many
 * connections arrive together.
 * @returns a function that returns how many arrived
 */
function gather({ deps }: Service, count: number): () => number {
  const { handOutQueue } = deps
  assert.ok(handOutQueue)
  const { submit } = handOutQueue
  const held = Promise.withResolvers<void>()
  let arrived = 0
  handOutQueue.submit = async (request) => {
    if (++arrived === count) held.resolve()
    await held.promise
    return submit(request)
  }
  return () => arrived
}

/** Registers, and hangs up as soon as the hand-out is written. */
async function registerAndLeave(service: Service, secret: string, headers: Record<string, string> = {}) {
  const { store } = service.deps
  const { handOutPoolKeys } = store
  const left = Promise.withResolvers<void>()
  const sent = httpRequest(`${service.url}/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
  })
  sent.on('error', () => undefined)
  store.handOutPoolKeys = async (...args) => {
    const outcomes = await handOutPoolKeys(...args)
    sent.destroy()
    await until(() => args[0].every(({ isAwaited }) => !isAwaited()))
    left.resolve()
    return outcomes
  }
  sent.end(JSON.stringify({ name: 'acme-agent' }))
  await left.promise
  store.handOutPoolKeys = handOutPoolKeys
  await service.deps.inFlight.settled()
}

test('a registration takes a pool key without a call to AWS, by every door', async (t) => {
  const service = await startService(t, { timing: { poolRename: 3_600_000 } })
  const { deps, url } = service
  const { stock } = stockedPool(service)
  const { secret } = await service.token()
  const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }
  const [json, text, client] = await stock(3)
  assert.ok(json && text && client)
  const before = operations(service)

  const one = await service.register(secret)
  assert.equal(one.headers.get('preference-applied'), null)
  const answer = await parsed(one)
  assert.equal(answer.api_key_value, json.value)
  assert.equal(answer.registration_id, registrationIdOfPoolKey(json.id))
  assert.equal(answer.ready, true)

  const waited = await service.register(secret, undefined, { accept: 'text/plain', prefer: 'wait=5' })
  assert.equal(waited.headers.get('preference-applied'), 'wait')
  const lines = await waited.text()
  assert.match(lines, new RegExp(`^FIRSTKEY_API_KEY='?${text.value}'?$`, 'm'))
  assert.match(lines, /^FIRSTKEY_READY='?true'?$/m)

  const body = JSON.stringify({ client_name: 'acme-agent' })
  const answered = await fetch(`${url}/connect/register`, { method: 'POST', headers, body })
  const information: unknown = await answered.json()
  assert.ok(typeof information === 'object' && information !== null)
  assert.equal(Reflect.get(information, 'client_secret'), client.value)
  assert.equal(Reflect.get(information, 'ready'), true)

  assert.deepEqual(operations(service), before)
  assert.deepEqual(await deps.store.listPoolKeys(), [])
  assert.equal(await dataPlane(service, answer.api_key_value), 200)
  const entries = await deps.store.listAudit({ limit: 10, registrationId: answer.registration_id })
  assert.ok(
    entries.some(({ action, detail }) => action === 'registration.created' && detail === FROM_THE_POOL),
  )
  await deps.deliveries.flush()
  assert.notEqual((await deps.store.getRegistration(answer.registration_id))?.deliveredAt, null)
})

test('without a key that is ready, and beyond what is, registrations are minted', async (t) => {
  const service = await startService(t)
  const { stock } = stockedPool(service)
  const { secret } = await service.token()
  const minted = await parsed(await service.register(secret))
  assert.equal(minted.ready, undefined)
  const keys = await stock(3)
  const answers = await Promise.all(
    Array.from({ length: 8 }, async () => parsed(await service.register(secret))),
  )
  const values = answers.map(({ api_key_value }) => api_key_value)
  assert.equal(new Set(values).size, 8)
  assert.ok(keys.every(({ value }) => values.includes(value)))
  for (const value of values) assert.equal(await dataPlane(service, value), 200)
})

test('tokens take turns at the keys that are ready', async (t) => {
  const service = await startService(t)
  const { stock } = stockedPool(service)
  const [many, few] = [await service.token(), await service.token()]
  const values = new Set((await stock(4)).map(({ value }) => value))
  const isFromPool = async (answer: Promise<Response>) =>
    values.has((await parsed(await answer)).api_key_value)
  const arrived = gather(service, 12)
  const flood = Array.from({ length: 10 }, () => isFromPool(service.register(many.secret)))
  await until(() => arrived() === 10)
  const others = Array.from({ length: 2 }, () => isFromPool(service.register(few.secret)))
  assert.deepEqual(await Promise.all(others), [true, true])
  assert.equal((await Promise.all(flood)).filter(Boolean).length, 2)
})

test('a key that was not seen to work says nothing about that', async (t) => {
  const service = await startService(t)
  const { stock } = stockedPool(service)
  const { secret } = await service.token()
  await stock(2, false)
  assert.equal((await parsed(await service.register(secret))).ready, undefined)
  const waited = await service.register(secret, undefined, { prefer: 'wait=5' })
  assert.equal((await parsed(waited)).ready, undefined)
})

test('a caller that waits for a key that works gets one that was not seen to when it does', async (t) => {
  const service = await startService(t, { env: { API_PROBE_PATH: '/hello' } })
  const { stock } = stockedPool(service)
  const { secret } = await service.token()
  await stock(1, false)
  const before = operations(service)
  const waited = await service.register(secret, undefined, { prefer: 'wait=20' })
  assert.equal((await parsed(waited)).ready, true)
  assert.deepEqual(operations(service), before)
})

test('its key is renamed afterwards to the name and description of the registration', async (t) => {
  const service = await startService(t, { timing: { poolRename: 10 } })
  const { stock } = stockedPool(service)
  const { secret } = await service.token()
  const [key] = await stock(1)
  const answer = await parsed(await service.register(secret, { name: 'acme-agent', description: 'nightly' }))
  const record = await service.deps.store.getRegistration(answer.registration_id)
  assert.ok(record && key)
  const named = () => service.gateway.account.key(key.apiKeyId)
  await until(() => named().name === keyName(record))
  assert.equal(named().description, 'nightly')

  const [plain] = await stock(1)
  const { api_key_id } = await parsed(await service.register(secret))
  assert.equal(api_key_id, plain?.apiKeyId)
  await until(() => service.gateway.account.key(api_key_id).name.startsWith('reg_'))
  assert.equal(service.gateway.account.key(api_key_id).description, '')
})

test('a name that an operator gave a key meanwhile stays', async (t) => {
  const service = await startService(t, { timing: { poolRename: 10 } })
  const { stock } = stockedPool(service)
  const { secret } = await service.token()
  const [named, other] = await stock(2)
  assert.ok(named && other)
  const { account } = service.gateway
  Object.assign(account.key(named.apiKeyId), { name: 'billing of acme' })
  for (const _ of [named, other]) await parsed(await service.register(secret))
  await until(() => account.key(other.apiKeyId).name.startsWith('reg_'))
  assert.equal(account.key(named.apiKeyId).name, 'billing of acme')
  assert.equal(account.key(named.apiKeyId).description, 'made beforehand')
})

test('a key that cannot be renamed keeps working, and the others are renamed', async (t) => {
  const service = await startService(t, { timing: { poolRename: 50 } })
  const { stock } = stockedPool(service)
  const { secret } = await service.token()
  const [first, second] = await stock(2)
  assert.ok(first && second)
  service.gateway.faults.order({ operation: 'UpdateApiKey', when: 'before', kind: 'refused' })
  const answers = [await parsed(await service.register(secret)), await parsed(await service.register(secret))]
  const nameOf = (id: string) => service.gateway.account.key(id).name
  await until(() => nameOf(second.apiKeyId).startsWith('reg_'))
  assert.ok(nameOf(first.apiKeyId).startsWith('pool_'))
  assert.equal(await dataPlane(service, answers[0]?.api_key_value ?? ''), 200)
})

test('the time of a key begins when it is handed out', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now })
  const { stock } = stockedPool(service)
  await stock(1)
  now += 30_000
  const one = await registered(service, { keyTtlMs: 60_000 })
  assert.equal(one.expires_at, new Date(now + 60_000).toISOString())
})

test('a retry with the same idempotency key gets the same pool key', async (t) => {
  const service = await startService(t)
  const { shelf, stock } = stockedPool(service)
  const { secret } = await service.token()
  await stock(3)
  const headers = { 'idempotency-key': randomUUID() }
  const register = async () => parsed(await service.register(secret, undefined, headers))
  const [first, joined] = await Promise.all([register(), register()])
  assert.equal(first.ready, true)
  assert.deepEqual([joined, await register()], [first, first])
  assert.equal(shelf.ready('demofree'), 2)
})

test('a request that is refused as its key is handed out leaves the key to others', async (t) => {
  const service = await startService(t)
  const { store } = service.deps
  const { shelf, stock } = stockedPool(service)
  const { handOutPoolKeys } = store
  const [key] = await stock(1)
  assert.ok(key)
  const cases: Record<string, { meanwhile(tokenId: string): Promise<unknown>; status: number }> = {
    'the token is revoked': { meanwhile: (id) => store.revokeToken(id, SERVICE, Date.now()), status: 401 },
    'its last use is spent': {
      async meanwhile() {
        store.handOutPoolKeys = handOutPoolKeys
        const other = await stock(1)
        shelf.remove(other.map(({ id }) => id))
        assert.equal((await service.register(last.secret)).status, 201)
      },
      status: 403,
    },
  }
  const last = await service.token({ maxUses: 1 })
  for (const [name, { meanwhile, status }] of Object.entries(cases)) {
    const { secret, token } = name.includes('last') ? last : await service.token()
    store.handOutPoolKeys = async (...args) => {
      await meanwhile(token.id)
      return handOutPoolKeys(...args)
    }
    const answer = await service.register(secret)
    store.handOutPoolKeys = handOutPoolKeys
    assert.equal(answer.status, status, `${name}: ${await answer.text()}`)
    assert.equal(shelf.ready('demofree'), 1, name)
  }
  assert.equal((await registered(service)).api_key_value, key.value)
})

test('a caller that left before the hand-out costs no key and no use', async (t) => {
  const service = await startService(t)
  const { store, inFlight } = service.deps
  const { shelf, stock } = stockedPool(service)
  const { secret, token } = await service.token()
  await stock(1)
  const { handOutPoolKeys } = store
  const leaving = new AbortController()
  store.handOutPoolKeys = async (...args) => {
    leaving.abort()
    await until(() => args[0].every(({ isAwaited }) => !isAwaited()))
    return handOutPoolKeys(...args)
  }
  const sent = fetch(`${service.url}/register`, {
    method: 'POST',
    signal: leaving.signal,
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'acme-agent' }),
  })
  await assert.rejects(sent)
  await inFlight.settled()
  assert.equal(shelf.ready('demofree'), 1)
  assert.equal((await store.getToken(token.id))?.uses, 0)
  assert.deepEqual(await store.listRegistrations({ limit: 10 }), [])
})

test('a caller that left as its key was handed out: the key is deleted under its old name', async (t) => {
  const service = await startService(t)
  const { store } = service.deps
  const { stock } = stockedPool(service)
  const { secret, token } = await service.token()
  const [key] = await stock(1)
  assert.ok(key)
  await registerAndLeave(service, secret)
  assert.equal((await store.getRegistration(registrationIdOfPoolKey(key.id)))?.status, 'failed')
  assert.equal(service.gateway.account.keys.has(key.apiKeyId), false)
  assert.equal((await store.getToken(token.id))?.uses, 0)
  await store.sweepAgain([registrationIdOfPoolKey(key.id)], service.deps.clock())
  // An import that takes effect late makes the key again, under its old name.
  service.gateway.account.createKey({ name: `${key.id} free`, value: key.value, enabled: true })
  await runJobsUntilIdle(service)
  assert.equal(service.gateway.account.keys.size, 0)
})

test('with an idempotency key, the retry of a caller that left gets its key', async (t) => {
  const service = await startService(t)
  const { stock } = stockedPool(service)
  const { secret } = await service.token()
  const [key] = await stock(1)
  assert.ok(key)
  const headers = { 'idempotency-key': randomUUID() }
  await registerAndLeave(service, secret, headers)
  assert.equal((await service.deps.store.getRegistration(registrationIdOfPoolKey(key.id)))?.answeredAt, null)
  assert.equal((await parsed(await service.register(secret, undefined, headers))).api_key_value, key.value)
})

test('a lost answer of the store loses no key', async (t) => {
  const service = await startService(t)
  const { store } = service.deps
  const { shelf, stock } = stockedPool(service)
  const { secret } = await service.token()
  const { handOutPoolKeys, getRegistration } = store
  const [first, second] = await stock(2)
  assert.ok(first && second)

  // Written, and the look at the store fails once as well.
  store.handOutPoolKeys = async (...args) => {
    await handOutPoolKeys(...args)
    throw new Error('the answer is lost')
  }
  let looks = 0
  store.getRegistration = async (id) => {
    if (++looks === 1) throw new Error('the store is busy')
    return getRegistration(id)
  }
  const answer = await parsed(await service.register(secret))
  assert.equal(answer.api_key_value, first.value)
  assert.ok(looks > 1)
  store.getRegistration = getRegistration

  // Not written.
  store.handOutPoolKeys = () => Promise.reject(new Error('the store is busy'))
  assert.equal((await service.register(secret)).status, 500)
  assert.equal(shelf.ready('demofree'), 1)
  store.handOutPoolKeys = handOutPoolKeys
  assert.equal((await parsed(await service.register(secret))).api_key_value, second.value)
})

test('a key that another process holds now is not handed out: the request gets another, or a new one', async (t) => {
  const service = await startService(t)
  const { store, clock } = service.deps
  const { shelf, stock } = stockedPool(service)
  const { secret } = await service.token()
  const [first, second, third] = await stock(3)
  assert.ok(first && second && third)
  const take = async (id: string) => {
    await store.givePoolKeysUp([id], shelf.owner)
    await store.renewPoolHolder({ owner: 'other', until: clock() + 60_000, sizes: {}, trouble: null })
    assert.deepEqual([...(await store.takePoolKeys([id], 'other', clock()))], [id])
  }
  await take(first.id)
  assert.equal((await parsed(await service.register(secret))).api_key_value, second.value)
  await take(third.id)
  const minted = await parsed(await service.register(secret))
  assert.ok(![first, second, third].some(({ value }) => value === minted.api_key_value))
  assert.deepEqual(
    (await store.listPoolKeys())
      .map(({ id, holder }) => ({ id, holder }))
      .sort((a, b) => (a.id < b.id ? -1 : 1)),
    [first, third].map(({ id }) => ({ id, holder: 'other' })).sort((a, b) => (a.id < b.id ? -1 : 1)),
  )
})

test('a request whose key is lost does not wait for one that waits for a key that works', async (t) => {
  const service = await startService(t, { env: { API_PROBE_PATH: '/hello' } })
  const { gateway } = service
  const { shelf, stock } = stockedPool(service)
  const { secret } = await service.token()
  const [lost] = await stock(1)
  const [refused] = await stock(1, false)
  assert.ok(lost && refused)
  gateway.account.key(refused.apiKeyId).enabled = false
  await service.deps.store.givePoolKeysUp([lost.id], shelf.owner)
  const arrived = gather(service, 2)
  const one = service.register(secret)
  await until(() => arrived() === 1)
  let isAnswered = false
  const waiting = service.register(secret, undefined, { prefer: 'wait=20' }).finally(() => {
    isAnswered = true
  })
  const minted = await parsed(await one)
  assert.ok(![lost, refused].some(({ value }) => value === minted.api_key_value))
  assert.equal(isAnswered, false)
  gateway.account.key(refused.apiKeyId).enabled = true
  assert.equal((await parsed(await waiting)).api_key_value, refused.value)
})

test('a full account does not stop the pool, and a plan that is gone does', async (t) => {
  const service = await startService(t)
  const { standingFaults } = service.deps
  const { shelf, stock } = stockedPool(service)
  const { secret } = await service.token()
  await stock(2)
  service.gateway.faults.order({ operation: 'CreateApiKey', times: 50, when: 'before', kind: 'quota' })
  const keys = shelf.remove(shelf.list().map(({ id }) => id))
  assert.equal((await service.register(secret)).status, 503)
  shelf.add(keys)
  assert.equal((await parsed(await service.register(secret))).ready, true)
  const { ServiceError } = await import('../../../src/errors.ts')
  standingFaults.planFailed('demofree', new ServiceError('upstream_misconfigured', 'The plan is gone.'))
  assert.equal((await service.register(secret)).status, 503)
  assert.equal(shelf.ready('demofree'), 1)
})

test('a rotation takes a pool key', async (t) => {
  const service = await startService(t, { timing: { poolRename: 3_600_000 } })
  const { deps } = service
  const { stock } = stockedPool(service, 'gold')
  const own = await registered(service, { plans: ['gold'] })
  await deps.planLimits() // Read once, and remembered.
  const [key] = await stock(1)
  assert.ok(key)
  const rotated = await rotate(service, own)
  assert.equal(rotated.api_key_value, key.value)
  assert.equal(rotated.ready, true)
  assert.equal(rotated.replaced.api_key_id, own.api_key_id)
  const record = await deps.store.getRegistration(rotationIdOfPoolKey(key.id))
  assert.equal(record?.rotation?.of, own.registration_id)
  assert.equal((await deps.store.getRegistration(own.registration_id))?.currentId, record?.id)
  // The present key is looked at before a rotation. Nothing is changed.
  const changes = operations(service).filter((one) => !one.startsWith('Get'))
  assert.deepEqual(changes, ['CreateApiKey', 'CreateUsagePlanKey'])
})

test('a rotation on a plan with a quota leaves the keys of the pool as they are', async (t) => {
  const apiStages = [{ apiId: 'demo', stage: 'prod' }]
  const small = { id: 'small', name: 'small', apiStages, quota: { limit: 9, period: 'DAY' as const } }
  const service = await startService(t, {
    env: { USAGE_PLANS: 'team=small,gold=demogold' },
    gateway: { plans: [small, ...defaultGatewayOptions.plans] },
  })
  const { deps } = service
  const { shelf, stock } = stockedPool(service, 'team')
  const own = await registered(service)
  for (let n = 0; n < 3; n++) assert.equal(await dataPlane(service, own.api_key_value), 200)
  const [key] = await stock(1)
  assert.ok(key)
  const remaining = async (keyId: string) => {
    const today = new Date().toISOString().slice(0, 10)
    const query = { usagePlanId: 'small', keyId, from: today, to: today }
    return (await deps.apiGateway.readUsage(query, AbortSignal.timeout(5_000))).at(-1)?.remaining
  }
  // A process that ended after it carried the quota would leave a key that another client gets.
  const { handOutPoolKeys } = deps.store
  deps.store.handOutPoolKeys = () => Promise.reject(new Error('the process ends here'))
  const rotated = await rotate(service, own)
  deps.store.handOutPoolKeys = handOutPoolKeys
  assert.equal(await remaining(rotated.api_key_id), await remaining(own.api_key_id))
  assert.equal(shelf.ready('small'), 1)
  const next = await registered(service)
  assert.equal(next.api_key_value, key.value)
  for (let n = 0; n < 9; n++) assert.equal(await dataPlane(service, next.api_key_value), 200)
})

test('revoked and suspended right after the hand-out, the key is disabled or deleted under its old name', async (t) => {
  const service = await startService(t, { timing: { poolRename: 3_600_000 } })
  const { deps, gateway } = service
  const { stock } = stockedPool(service)
  const [first, second] = await stock(2)
  assert.ok(first && second)
  const revoked = await registered(service)
  assert.equal((await manage(service, revoked, 'DELETE')).status, 204)
  assert.equal(gateway.account.keys.has(first.apiKeyId), false)
  const suspended = await registered(service)
  await suspend(deps, suspended.registration_id, SERVICE)
  await runJobsUntilIdle(service)
  assert.equal(gateway.account.key(second.apiKeyId).enabled, false)
  assert.equal(await dataPlane(service, second.value), 403)
})

test('a hand-out in doubt is settled: an unused key is deleted under its old name', async (t) => {
  let now = Date.now()
  const service = await startService(t, {
    clock: () => now,
    timing: { deliver: 3_600_000, poolRename: 3_600_000, endSpacing: 0, sweepAfter: 0 },
  })
  const { deps, gateway } = service
  const { stock } = stockedPool(service)
  const [used, unused] = await stock(2)
  assert.ok(used && unused)
  // The probes before a key is ready are no use by its caller.
  for (const { value } of [used, unused])
    for (let n = 0; n < ACCEPTED_PROBES; n++) assert.equal(await dataPlane(service, value), 200)
  const one = await registered(service)
  await registered(service)
  assert.equal(await dataPlane(service, one.api_key_value), 200)
  now += 25 * 3_600_000
  await settleDoubts(deps)
  await runJobsUntilIdle(service)
  assert.equal(gateway.account.keys.has(unused.apiKeyId), false)
  assert.equal(gateway.account.keys.has(used.apiKeyId), true)
})

test('a federated caller takes a pool key, and another one as it registers its name again', async (t) => {
  const service = await startFederated(t, { grant: { overlap: '1h', plans: ['gold'] } })
  const { shelf, stock } = stockedPool(service, 'gold')
  const [first, second] = await stock(3)
  assert.ok(first && second)
  const jwt = service.jwt()
  const one = await service.joined({ jwt })
  assert.equal(one.api_key_value, first.value)
  await service.deps.planLimits()
  const again = await service.joined()
  assert.equal(again.api_key_value, second.value)
  assert.equal(again.registration_id, one.registration_id)
  for (const { api_key_value } of [one, again]) assert.equal(await dataPlane(service, api_key_value), 200)
  const { code } = await readProblem(await service.join({ jwt, name: 'other' }))
  assert.equal(code, 'token_replayed')
  assert.equal(shelf.ready('demogold'), 1)

  // Two requests find the name free, and both begin.
  gather(service, 2)
  const others = [service.join({ name: 'new' }), service.join({ name: 'new' })]
  const statuses = (await Promise.all(others)).map(({ status }) => status)
  assert.deepEqual(statuses.toSorted(), [201, 409])
  assert.equal(
    (await service.deps.store.listRegistrations({ limit: 10 })).filter(({ name }) => name === 'new').length,
    1,
  )
})

test('a rotation whose answer from the store is lost is answered with what it replaced', async (t) => {
  const service = await startService(t)
  const { store } = service.deps
  const { stock } = stockedPool(service, 'gold')
  const own = await registered(service, { plans: ['gold'] })
  const [key] = await stock(1)
  const { handOutPoolKeys } = store
  store.handOutPoolKeys = async (...args) => {
    await handOutPoolKeys(...args)
    throw new Error('the answer is lost')
  }
  const rotated = await rotate(service, own)
  assert.equal(rotated.api_key_value, key?.value)
  assert.equal(rotated.replaced.api_key_id, own.api_key_id)
})

test('a request whose deadline passes as the store is slow costs no key', async (t) => {
  const service = await startService(t, { env: { REGISTER_TIMEOUT_MS: '1000' } })
  const { store } = service.deps
  const { shelf, stock } = stockedPool(service)
  await stock(1)
  const { handOutPoolKeys } = store
  store.handOutPoolKeys = async (...args) => {
    await until(() => args[0].every(({ isAwaited }) => !isAwaited()))
    return handOutPoolKeys(...args)
  }
  const answer = await service.register((await service.token()).secret)
  assert.equal(answer.status, 503, await answer.text())
  await service.deps.inFlight.settled()
  assert.equal(shelf.ready('demofree'), 1)
  assert.deepEqual(await store.listRegistrations({ limit: 10 }), [])
})

test('a service that stops answers the requests whose keys are being handed out', async (t) => {
  const service = await startService(t, { timing: { poolRename: 0 } })
  const { app, deps, gateway } = service
  const { stock } = stockedPool(service)
  const [key] = await stock(1)
  assert.ok(key)
  const { handOutPoolKeys } = deps.store
  const [arrived, stopping] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  deps.store.handOutPoolKeys = async (...args) => {
    arrived.resolve()
    await stopping.promise
    return handOutPoolKeys(...args)
  }
  const { secret } = await service.token()
  const answer = service.register(secret)
  await arrived.promise
  gateway.faults.order({ operation: 'UpdateApiKey', when: 'before', kind: 'hang', times: 9 })
  const { close } = deps
  const closed = app.close().then(close)
  Object.assign(deps, { close: () => closed }) // The end of the test closes once more.
  stopping.resolve()
  assert.equal((await parsed(await answer)).api_key_value, key.value)
  await closed
})

test('the owner sees the state and the usage of a key that is not renamed yet', async (t) => {
  const service = await startService(t, {
    timing: { poolRename: 3_600_000 },
    env: { API_PROBE_PATH: '/hello' },
  })
  const { stock } = stockedPool(service)
  await stock(1)
  const own = await registered(service)
  assert.equal(await dataPlane(service, own.api_key_value), 200)
  const state = (await (await manage(service, own, 'GET')).json()) as { live: boolean; ready: boolean }
  assert.deepEqual([state.live, state.ready], [true, true])
  const usage = (await (await manage(service, own, 'GET', '/usage')).json()) as { days: { used: number }[] }
  assert.ok((usage.days.at(-1)?.used ?? 0) >= 1)
})
