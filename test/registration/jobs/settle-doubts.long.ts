import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { ServiceError } from '../../../src/errors.ts'
import { settleDoubts } from '../../../src/registration/jobs/settle-doubts.ts'
import { phaseOf } from '../../../src/registration/lifecycle.ts'
import { rotatedSchema } from '../../../src/routes/registration-schema.ts'
import { assertInvariants, runJobsUntilIdle } from '../../support/invariants.ts'
import {
  dataPlane,
  manage,
  type Registered,
  registered,
  type Service,
  startService,
} from '../../support/service.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

interface World {
  readonly service: Service
  /** Moves the clock. */
  wait(ms: number): void
}

/** Starts a service that records no delivery by itself, as one that is killed after each response. */
async function startForgetful(t: TestContext): Promise<World> {
  let now = Date.now()
  const timing = { deliver: HOUR_MS, endSpacing: 0, sweepAfter: 0 }
  const service = await startService(t, { clock: () => now, timing })
  return {
    service,
    wait(ms) {
      now += ms
    },
  }
}

const outcomes = async ({ deps }: Service) => (await settleDoubts(deps)).map(({ outcome }) => outcome)

const stateOf = async ({ deps }: Service, { registration_id }: Registered) => {
  const one = await deps.store.getRegistration(registration_id)
  return [one?.status, one?.failure, typeof one?.deliveredAt]
}

test('a registration in doubt is undone after a day without a management call or usage, and its use is refunded', async (t) => {
  const { service, wait } = await startForgetful(t)
  const { token, secret } = await service.token({ maxUses: 1 })
  const own = await registered(service, {}, {}, secret)
  wait(DAY_MS - 1)
  assert.deepEqual(await outcomes(service), [])
  assert.equal(service.gateway.account.keys.size, 1)
  wait(1)
  assert.deepEqual(await outcomes(service), ['undone'])
  assert.deepEqual(await stateOf(service, own), ['failed', 'undelivered', 'object'])
  assert.equal(service.gateway.account.keys.size, 0)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
  const [entry] = await service.deps.store.listAudit({ registrationId: own.registration_id, limit: 1 })
  assert.deepEqual([entry?.action, entry?.detail], ['registration.undone', 'undelivered'])
  assert.deepEqual(await outcomes(service), [])
  await runJobsUntilIdle(service)
  await assertInvariants(service.gateway, service.deps.store, [])
})

test('a registration whose key was used counts as delivered when the day is over', async (t) => {
  const { service, wait } = await startForgetful(t)
  const own = await registered(service)
  assert.equal(await dataPlane(service, own.api_key_value), 200)
  wait(DAY_MS)
  assert.deepEqual(await outcomes(service), ['delivered'])
  assert.deepEqual(await stateOf(service, own), ['active', null, 'number'])
  await assertInvariants(service.gateway, service.deps.store, [own])
})

test('a key that an operator moved to another plan was used if it was used there', async (t) => {
  const { service, wait } = await startForgetful(t)
  const own = await registered(service)
  service.gateway.account.key(own.api_key_id).planIds.clear()
  service.gateway.account.attach('demogold', own.api_key_id)
  assert.equal(await dataPlane(service, own.api_key_value), 200)
  wait(DAY_MS)
  assert.deepEqual(await outcomes(service), ['delivered'])
})

test('a registration stays in doubt while its usage cannot be read, and does not hold up those of other plans', async (t) => {
  const { service, wait } = await startForgetful(t)
  const own: Registered[] = []
  for (const plan of ['free', 'gold', 'free']) {
    own.push(await registered(service, { plans: [plan] }))
    wait(1)
  }
  wait(DAY_MS)
  const { faults } = service.gateway
  faults.order({ operation: 'GetUsage', when: 'before', kind: 'refused', times: 9 })
  let keys = 0
  service.gateway.onCall = (operation, at) => {
    if (operation === 'GetUsagePlans' && at === 'arrived' && ++keys === 2) faults.clear()
  }
  assert.deepEqual((await outcomes(service)).sort(), ['open', 'open', 'undone'])
  assert.equal(service.gateway.account.keys.size, 2)
  const [first, , third] = own
  assert.ok(first && third)
  assert.equal(await dataPlane(service, third.api_key_value), 200)
  assert.deepEqual((await outcomes(service)).sort(), ['delivered', 'undone'])
  assert.deepEqual(await stateOf(service, first), ['failed', 'undelivered', 'object'])
})

test('a management call that is recorded after the usage was read, and before the undo, keeps the registration', async (t) => {
  const { service, wait } = await startForgetful(t)
  const own = await registered(service)
  wait(DAY_MS)
  let call: Promise<Response> | undefined
  const { store } = service.deps
  const { withdrawAnswers } = store
  store.withdrawAnswers = async (...args) => {
    call = manage(service, own, 'GET')
    assert.equal((await call).status, 200)
    return withdrawAnswers(...args)
  }
  assert.deepEqual(await outcomes(service), ['open'])
  assert.ok(call)
  assert.deepEqual(await stateOf(service, own), ['active', null, 'number'])
  await assertInvariants(service.gateway, store, [own])
})

test('a registration with an idempotency key stays in doubt as long as a retry can ask for it', async (t) => {
  const { service, wait } = await startForgetful(t)
  const { secret } = await service.token()
  wait(-HOUR_MS)
  const { store, clock, timing } = service.deps
  const headers = { 'idempotency-key': randomUUID() }
  const own = await registered(service, {}, headers, secret)
  wait(DAY_MS - 1)
  const replayed = await registered(service, {}, headers, secret)
  assert.equal(replayed.api_key_value, own.api_key_value)
  wait(2)
  assert.deepEqual(await outcomes(service), [])
  await store.forgetIdempotency(clock() - timing.idempotency)
  assert.deepEqual(await outcomes(service), [], 'the replay is in doubt only since it was answered')
  wait(DAY_MS)
  assert.deepEqual(await outcomes(service), ['undone'])
})

test('a rotation in doubt counts as delivered after a day, and its registration at once', async (t) => {
  const { service, wait } = await startForgetful(t)
  const own = await registered(service)
  const answer = await manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 })
  const next = rotatedSchema.parse(await answer.json())
  assert.deepEqual(await stateOf(service, own), ['active', null, 'number'])
  const inDoubt = async () =>
    (await service.deps.store.listInDoubt(service.deps.clock(), 9)).map(({ id }) => id)
  const [rotation] = await service.deps.store.listRotations(own.registration_id)
  assert.deepEqual(await inDoubt(), [rotation?.id])
  wait(DAY_MS)
  assert.deepEqual(await outcomes(service), ['delivered'])
  assert.deepEqual(await inDoubt(), [])
  assert.equal(await dataPlane(service, next.api_key_value), 200)
})

test('a registration that was told an error although the store recorded its answer is undone at once', async (t) => {
  const { service } = await startForgetful(t)
  const { token, secret } = await service.token({ maxUses: 1 })
  const { store } = service.deps
  const { completeRegistrations } = store
  // As when the response of the database is lost.
  store.completeRegistrations = async (...args) => {
    store.completeRegistrations = completeRegistrations
    await completeRegistrations(...args)
    throw new ServiceError('store_unavailable', 'No response.', { retryAfter: 5 })
  }
  const answer = await service.register(secret)
  assert.equal(answer.status, 503)
  assert.equal((await store.getToken(token.id))?.uses, 0)
  assert.equal(service.gateway.account.keys.size, 0)
  await registered(service, {}, {}, secret)
})

test('an answer that the store records too late, and that reached no caller, leaves no doubt: the key waits for the retry', async (t) => {
  const service = await startService(t, { env: { REGISTER_TIMEOUT_MS: '1000' } })
  const { secret } = await service.token({ maxUses: 1 })
  const { store, inFlight } = service.deps
  const { completeRegistrations } = store
  const refused = Promise.withResolvers<void>()
  store.completeRegistrations = async (...args) => {
    const completed = await completeRegistrations(...args)
    await refused.promise
    return completed
  }
  const retried = { 'idempotency-key': randomUUID() }
  assert.equal((await service.register(secret, undefined, retried)).status, 503)
  refused.resolve()
  await inFlight.settled()
  const [one] = await store.listRegistrations({ limit: 1 })
  assert.equal(one && phaseOf(one), 'unanswered')
  await registered(service, {}, retried, secret)
})

for (const kind of ['unimplemented', 'garbled'] as const)
  test(`where GetUsage is not available (${kind}), it is no evidence: keys stay in doubt, and the log says so once`, async (t) => {
    const { service, wait } = await startForgetful(t)
    const own = await registered(service)
    wait(DAY_MS)
    service.gateway.faults.order({ operation: 'GetUsage', when: 'before', kind, times: 1_000_000 })
    for (let round = 0; round < 3; round++) assert.deepEqual(await outcomes(service), ['open'])
    assert.deepEqual(await stateOf(service, own), ['active', null, 'object'])
    assert.equal(service.gateway.account.keys.size, 1)
    assert.equal(service.logLines.filter((line) => line.includes('API Gateway lacks an operation')).length, 1)
  })
