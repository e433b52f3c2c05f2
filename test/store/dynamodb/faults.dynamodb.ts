import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { issueBootstrapToken } from '../../../src/auth/bootstrap-token.ts'
import { createPrometheusMeter } from '../../../src/metrics/prometheus-meter.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import type { NewRegistration } from '../../../src/store/records.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable, storeEnv } from '../../support/dynamodb/new-table.ts'
import {
  assertInvariants,
  fastTiming,
  type ReceivedCredential,
  runJobsUntilIdle,
} from '../../support/invariants.ts'
import { readProblem } from '../../support/problem.ts'
import { readSamples, sum } from '../../support/samples.ts'
import {
  manage,
  registered,
  type ServiceOptions,
  startService,
  unlimitedPolicy,
} from '../../support/service.ts'
import { lease, newCompletion, newRegistration } from '../store-contract.ts'

/** Starts the service on a table of its own, behind a proxy that causes faults. */
async function start(
  t: TestContext,
  more: Record<string, string> = {},
  options: Pick<ServiceOptions, 'meter'> = {},
) {
  const { table, endpoint } = await newTable()
  const dynamoDb = await startFaultyProxy(t, endpoint)
  const env = { ...storeEnv({ table, endpoint: dynamoDb.endpoint }), ...more }
  return { dynamoDb, service: await startService(t, { env, timing: fastTiming, ...options }) }
}

/** More calls than any of these tests makes. */
const ALL = 1_000

test('transactions are measured by their end; one whose condition is not met has succeeded', async (t) => {
  const meter = createPrometheusMeter({
    plans: ['free'],
    version: '1.2.3',
    store: 'dynamodb',
    keyQuota: 10_000,
  })
  const { dynamoDb, service } = await start(t, {}, { meter })
  const commits = async (outcome: string) =>
    sum(readSamples(await meter.render()), 'firstkey_store_commits_total', { outcome }) ?? 0
  const { secret } = await service.token({ maxUses: 1 })
  assert.equal((await service.register(secret)).status, 201)
  assert.ok((await commits('succeeded')) > 0)
  assert.equal((await service.register(secret)).status, 403)
  assert.equal(await commits('failed'), 0)
  dynamoDb.order({ operation: 'TransactWriteItems', kind: 'throttle', times: ALL })
  const other = await service.deps.store.takeLeaderLease('test', lease, Date.now()).then(
    () => 'taken',
    () => 'failed',
  )
  assert.equal(other, 'failed')
  assert.ok((await commits('failed')) > 0)
})

for (const operation of ['GetItem', 'TransactWriteItems']) {
  test(`if DynamoDB throttles every ${operation}, the response is 503 upstream_throttled with Retry-After, and a retry succeeds`, async (t) => {
    const { dynamoDb, service } = await start(t)
    const { secret } = await service.token({ maxUses: 1 })
    dynamoDb.order({ operation, kind: 'throttle', times: ALL })
    const headers = { 'idempotency-key': randomUUID() }
    const refused = await service.register(secret, undefined, headers)
    assert.equal(refused.status, 503)
    assert.ok(Number(refused.headers.get('retry-after')) > 0)
    assert.equal((await readProblem(refused)).code, 'upstream_throttled')
    assert.equal(service.gateway.account.keys.size, 0)
    dynamoDb.clearFaults()
    const received = (await (await service.register(secret, undefined, headers)).json()) as ReceivedCredential
    await runJobsUntilIdle(service)
    await assertInvariants(service.gateway, service.deps.store, [received])
  })
}

test('after a throttled completion, a retry succeeds, and one key and one use remain', async (t) => {
  const { dynamoDb, service } = await start(t)
  const { secret } = await service.token({ maxUses: 1 })
  service.gateway.onCall = (called, at) => {
    if (called === 'CreateUsagePlanKey' && at === 'effective')
      dynamoDb.order({ operation: 'TransactWriteItems', kind: 'throttle', times: ALL })
  }
  const headers = { 'idempotency-key': randomUUID() }
  const refused = await readProblem(await service.register(secret, undefined, headers))
  assert.equal(refused.code, 'upstream_throttled')
  service.gateway.onCall = () => undefined
  dynamoDb.clearFaults()
  await runJobsUntilIdle(service)
  const retry = await service.register(secret, undefined, headers)
  assert.equal(retry.status, 201)
  await runJobsUntilIdle(service)
  await assertInvariants(service.gateway, service.deps.store, [(await retry.json()) as ReceivedCredential])
  assert.equal(service.gateway.account.keys.size, 1)
})

test('conflicting transactions are repeated, and every request succeeds', async (t) => {
  const { dynamoDb, service } = await start(t)
  const { secret, token } = await service.token({ maxUses: 20 })
  dynamoDb.order({ operation: 'TransactWriteItems', kind: 'conflict', times: 6 })
  const answers = await Promise.all(Array.from({ length: 20 }, () => service.register(secret)))
  assert.ok(answers.every(({ status }) => status === 201))
  assert.equal(dynamoDb.faultCount(), 6)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 20)
})

test('a transaction whose response is lost is repeated without a second effect', async (t) => {
  const { dynamoDb, service } = await start(t)
  const { secret, token } = await service.token({ maxUses: 3 })
  const received: ReceivedCredential[] = []
  for (let i = 0; i < 3; i++) {
    dynamoDb.order({ operation: 'TransactWriteItems', kind: 'cut', times: 1 })
    const answer = await service.register(secret)
    assert.equal(answer.status, 201)
    received.push((await answer.json()) as ReceivedCredential)
  }
  assert.equal(dynamoDb.faultCount(), 3)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 3)
  await assertInvariants(service.gateway, service.deps.store, received)
})

for (const kind of ['hang', 'half'] as const) {
  test(`a response that does not end (${kind}) delays a registration by the limit of one attempt`, async (t) => {
    const { dynamoDb, service } = await start(t)
    const { secret, token } = await service.token({ maxUses: 1 })
    dynamoDb.order({ operation: 'GetItem', kind, times: 1 })
    dynamoDb.order({ operation: 'TransactWriteItems', kind, times: 1 })
    const startedAt = performance.now()
    const answer = await service.register(secret)
    assert.equal(answer.status, 201)
    assert.ok(performance.now() - startedAt < 15_000, `${performance.now() - startedAt} ms`)
    assert.equal(dynamoDb.faultCount(), 2)
    assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
    await assertInvariants(service.gateway, service.deps.store, [(await answer.json()) as ReceivedCredential])
  })

  test(`if no response of DynamoDB ends (${kind}), the response is 503 store_unavailable, long before the deadline`, async (t) => {
    const { dynamoDb, service } = await start(t)
    const { secret } = await service.token()
    dynamoDb.order({ operation: 'GetItem', kind, times: ALL })
    const startedAt = performance.now()
    // More than the sockets, so that some wait for a turn.
    const answers = await Promise.all(Array.from({ length: 100 }, () => service.register(secret)))
    for (const answer of answers) assert.equal((await readProblem(answer)).code, 'store_unavailable')
    assert.ok(performance.now() - startedAt < 15_000, `${performance.now() - startedAt} ms`)
    dynamoDb.clearFaults()
    assert.equal((await service.register(secret)).status, 201)
  })
}

test('authentication and management by a store that stalls are answered within the deadline of the request', async (t) => {
  const { dynamoDb, service } = await start(t, { REGISTER_TIMEOUT_MS: '2000' })
  const { secret } = await service.token()
  const one = await registered(service, {}, {}, secret)
  for (const operation of ['GetItem', 'Query']) dynamoDb.order({ operation, kind: 'hang', times: ALL })
  const startedAt = performance.now()
  const answers = await Promise.all([service.register(secret), manage(service, one, 'GET')])
  for (const answer of answers) assert.equal((await readProblem(answer)).code, 'store_unavailable')
  assert.ok(performance.now() - startedAt < 3_000, `${performance.now() - startedAt} ms`)
  dynamoDb.clearFaults()
})

test('if the work in the store cannot be counted, the count rejects once, and no promise is left to end the process', async (t) => {
  const { dynamoDb, store } = await openTwo(t)
  dynamoDb.order({ operation: 'Query', kind: 'denied', times: ALL })
  const expiringBy = [1_000, 2_000]
  await assert.rejects(store.countWork({ now: 1_000, answeredBy: 1_000, expiringBy }), {
    code: 'store_unavailable',
  })
  // Every read has ended before the store is closed.
  await store.close()
})

test('a lease write that stalls fails in time, and the next one and recovery succeed', async (t) => {
  const { dynamoDb, store, token } = await openTwo(t)
  const one = newRegistration(token.id)
  await store.beginRegistrations([one], { owner: 'a', until: 5_000 })
  dynamoDb.order({ operation: 'TransactWriteItems', kind: 'half', times: 4, containing: 'lease#a' })
  const startedAt = performance.now()
  await assert.rejects(store.renewLeases(['a'], 9_000), { code: 'store_unavailable' })
  assert.ok(performance.now() - startedAt < 12_000, `${performance.now() - startedAt} ms`)
  dynamoDb.clearFaults()
  await store.renewLeases(['a'], 9_000)
  assert.equal((await store.takeLeases([one.id], 'pending', { owner: 'b', until: 19_000 }, 10_000)).size, 1)
})

test('if DynamoDB rejects the credentials once, they are loaded again and the registration succeeds', async (t) => {
  const { dynamoDb, service } = await start(t)
  const { secret } = await service.token({ maxUses: 1 })
  dynamoDb.order({ operation: 'GetItem', kind: 'unknown-credentials', times: 1 })
  dynamoDb.order({ operation: 'TransactWriteItems', kind: 'unknown-credentials', times: 1 })
  const answer = await service.register(secret)
  assert.equal(answer.status, 201)
  assert.equal(dynamoDb.faultCount(), 2)
  await assertInvariants(service.gateway, service.deps.store, [(await answer.json()) as ReceivedCredential])
})

test('if access to the table is denied, the response is 503, until it is granted again', async (t) => {
  const { dynamoDb, service } = await start(t)
  const { secret } = await service.token()
  dynamoDb.order({ operation: 'GetItem', kind: 'denied', times: ALL })
  assert.equal((await readProblem(await service.register(secret))).code, 'store_unavailable')
  dynamoDb.clearFaults()
  assert.equal((await service.register(secret)).status, 201)
})

test('if the deadline passes while an answer is recorded, the key is deleted and the use is refunded', async (t) => {
  const { dynamoDb, service } = await start(t, { REGISTER_TIMEOUT_MS: '1000' })
  const { secret, token } = await service.token({ maxUses: 1 })
  dynamoDb.onCall = async (_operation, body) => {
    if (body.includes('registration.created')) await sleep(1_500)
  }
  assert.equal((await service.register(secret)).status, 503)
  await runJobsUntilIdle(service)
  await assertInvariants(service.gateway, service.deps.store, [])
  assert.equal(service.gateway.account.keys.size, 0)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
  dynamoDb.onCall = async () => undefined
  assert.equal((await service.register(secret)).status, 201)
})

/** Opens two stores on one table: `store` behind a proxy that causes faults, and `other` without it. */
async function openTwo(t: TestContext) {
  const options = await newTable()
  const dynamoDb = await startFaultyProxy(t, options.endpoint)
  const [store, other] = [
    await openDynamoDbStore({ ...options, endpoint: dynamoDb.endpoint }),
    await openDynamoDbStore(options),
  ]
  t.after(() => Promise.all([store.close(), other.close()]))
  const { token } = await issueBootstrapToken(other, unlimitedPolicy, SERVICE, 1)
  return { dynamoDb, store, other, token }
}

test('if one transaction of a large completion is throttled, the others take effect, and the result names them', async (t) => {
  const { dynamoDb, store, token } = await openTwo(t)
  const batch = Array.from({ length: 150 }, () => newRegistration(token.id))
  const lease = { owner: 'a', until: 9_000 }
  await store.beginRegistrations(batch, lease)
  const victim = batch[120]?.id ?? ''
  dynamoDb.order({ operation: 'TransactWriteItems', kind: 'throttle', times: ALL, containing: victim })
  const completions = batch.map((each) => newCompletion(each, { owner: 'a' }))
  const completed = await store.completeRegistrations(completions, 2_000)
  dynamoDb.clearFaults()
  assert.ok(completed.size >= 100 && !completed.has(victim), `${completed.size} completed`)
  for (const { id } of batch) {
    const status = (await store.getRegistration(id))?.status
    assert.equal(status, completed.has(id) ? 'active' : 'pending')
  }
})

test('a completion whose responses are all lost is reported as done', async (t) => {
  const { dynamoDb, store, token } = await openTwo(t)
  const one = newRegistration(token.id)
  await store.beginRegistrations([one], { owner: 'a', until: 9_000 })
  dynamoDb.order({ operation: 'TransactWriteItems', kind: 'cut', times: ALL })
  assert.ok((await store.completeRegistrations([newCompletion(one, { owner: 'a' })], 2_000)).has(one.id))
})

test('if the holder renews its lease while another process takes it, the holder keeps it', async (t) => {
  const { dynamoDb, store, other, token } = await openTwo(t)
  const one = newRegistration(token.id)
  await store.beginRegistrations([one], { owner: 'a', until: 5_000 })
  let renewed = false
  dynamoDb.onCall = async (operation, body) => {
    if (operation !== 'TransactWriteItems' || !body.includes('lease#a') || renewed) return
    renewed = true
    await other.renewLeases(['a'], 9_000)
  }
  const taken = await store.takeLeases([one.id], 'pending', { owner: 'b', until: 9_000 }, 6_000)
  assert.deepEqual([renewed, taken.size], [true, 0])
  assert.ok((await store.completeRegistrations([newCompletion(one, { owner: 'a' })], 7_000)).has(one.id))
})

test('a revocation also ends a rotation that was begun and completed meanwhile', async (t) => {
  const { dynamoDb, store, other, token } = await openTwo(t)
  const root = newRegistration(token.id)
  const lease = { owner: 'a', until: 9_000 }
  const complete = async (one: NewRegistration) =>
    other.completeRegistrations([newCompletion(one, { owner: 'a' })], 2_000)
  await other.beginRegistrations([root], lease)
  await complete(root)
  const rotation = {
    ...newRegistration(token.id),
    id: 'rot_1',
    rotation: { of: root.id, overlapMs: 60_000, renewsManagement: false },
  }
  let rotated = false
  dynamoDb.onCall = async (operation) => {
    if (operation !== 'TransactWriteItems' || rotated) return
    rotated = true
    await other.beginRegistrations([rotation], lease)
    await complete(rotation)
  }
  const ending = await store.revokeRegistration(root.id, SERVICE, 3_000)
  assert.deepEqual(ending.map(({ id }) => id).sort(), [root.id, rotation.id].sort())
  assert.equal((await other.getRegistration(rotation.id))?.status, 'ending')
})

test('a batch of which some writes fail returns those that were made', async (t) => {
  const { table, endpoint } = await newTable()
  const proxy = await startFaultyProxy(t, endpoint)
  const store = await openDynamoDbStore({ table, region: 'eu-west-1', endpoint: proxy.endpoint })
  t.after(() => store.close())
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const [undone, failing, withdrawn, active] = Array.from({ length: 4 }, () => newRegistration(token.id)) as [
    NewRegistration,
    NewRegistration,
    NewRegistration,
    NewRegistration,
  ]
  await store.beginRegistrations([undone, failing, withdrawn, active], lease)
  const completions = [withdrawn, active].map((one) => newCompletion(one))
  await store.completeRegistrations(completions, 2_000)
  for (const { id } of [failing, active])
    proxy.order({ operation: 'TransactWriteItems', kind: 'denied', times: ALL, containing: id })

  const held = [undone, failing].map(({ id }) => ({ id, owner: lease.owner }))
  assert.deepEqual([...(await store.startUndoing(held))], [undone.id])
  const ids = [withdrawn.id, active.id]
  const taken = await store.withdrawAnswers(ids, 2_000, { owner: 'b.1', until: 9_000 })
  assert.deepEqual([...taken], [withdrawn.id])
  await assert.rejects(store.startUndoing(held.slice(1)), { code: 'store_unavailable' })
  assert.equal((await store.getRegistration(active.id))?.status, 'active')
})
