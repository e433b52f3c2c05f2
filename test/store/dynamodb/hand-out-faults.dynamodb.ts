import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { FROM_THE_POOL } from '../../../src/store/pool.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable, storeEnv } from '../../support/dynamodb/new-table.ts'
import { fastTiming } from '../../support/invariants.ts'
import { readProblem } from '../../support/problem.ts'
import { dataPlane, manage, registered, type Service, startService } from '../../support/service.ts'

const SIZE = 4
/** More calls than any of these tests makes. */
const ALL = 1_000

/** Starts the service with a pool, on a table of its own behind a proxy that causes faults, and waits until the pool is full. */
async function start(t: TestContext) {
  const { table, endpoint } = await newTable()
  const dynamoDb = await startFaultyProxy(t, endpoint)
  const env = {
    ...storeEnv({ table, endpoint: dynamoDb.endpoint }),
    ...{ USAGE_PLANS: 'gold=demogold', POOL: `gold:${SIZE}`, POOL_SETTLE: '0' },
  }
  const service = await startService(t, { env, timing: { ...fastTiming, poolLease: 10_000 } })
  await untilFull(service)
  return { dynamoDb, service }
}

async function untilFull({ deps, gateway }: Service): Promise<void> {
  for (const giveUpAt = performance.now() + 60_000; ; ) {
    const keys = await deps.store.listPoolKeys()
    const ready = keys.filter(({ state }) => state === 'ready').length
    const held = deps.pool?.heldKeys.ready('demogold')
    const made = gateway.account.keys.size - (await deps.store.countKeys())
    if (ready === SIZE && keys.length === SIZE && held === SIZE && made === SIZE) return
    assert.ok(
      performance.now() < giveUpAt,
      `${ready} of ${keys.length} keys are ready, ${held} held, ${made} made`,
    )
    await sleep(20)
  }
}

/** Asserts that these keys work, each of another registration, that no use is spent for others, and that the pool is full again. */
async function assertAllIsWell(
  service: Service,
  tokenId: string,
  answers: readonly Received[],
): Promise<void> {
  await untilFull(service)
  const { store } = service.deps
  assert.equal(new Set(answers.map((one) => one.api_key_value)).size, answers.length)
  for (const { api_key_value } of answers) assert.equal(await dataPlane(service, api_key_value), 200)
  const records = await store.listRegistrations({ limit: 100 })
  const own = records.filter(
    (one) => one.tokenId === tokenId && one.status !== 'failed' && one.rotation === null,
  )
  assert.equal(own.length, answers.length)
  assert.equal((await store.getToken(tokenId))?.uses, answers.length)
  const entries = (await store.listAudit({ limit: 100 })).filter(({ detail }) => detail === FROM_THE_POOL)
  assert.equal(entries.length, answers.length)
}

interface Received {
  readonly api_key_value: string
}

for (const [times, what] of [
  [1, 'is lost'],
  [4, 'and those of its repetitions are lost'],
] as const)
  test(`a request whose hand-out took effect although its response ${what} receives the key`, async (t) => {
    const { dynamoDb, service } = await start(t)
    const { secret, token } = await service.token({ maxUses: 1 })
    dynamoDb.order({ operation: 'TransactWriteItems', kind: 'cut', times, containing: FROM_THE_POOL })
    const answer = await service.register(secret)
    assert.equal(answer.status, 201)
    assert.equal(dynamoDb.faultCount(), times)
    await assertAllIsWell(service, token.id, [(await answer.json()) as Received])
  })

for (const [kind, code] of [
  ['throttle', 'upstream_throttled'],
  ['denied', 'store_unavailable'],
] as const)
  test(`if DynamoDB refuses every hand-out (${kind}), the response is 503 ${code}, and a retry receives a key of the pool`, async (t) => {
    const { dynamoDb, service } = await start(t)
    const { secret, token } = await service.token({ maxUses: 3 })
    dynamoDb.order({ operation: 'TransactWriteItems', kind, times: ALL, containing: FROM_THE_POOL })
    const keys = [randomUUID(), randomUUID(), randomUUID()]
    const register = (key: string) => service.register(secret, undefined, { 'idempotency-key': key })
    for (const answer of await Promise.all(keys.map(register))) {
      assert.ok(Number(answer.headers.get('retry-after')) > 0)
      assert.equal((await readProblem(answer)).code, code)
    }
    assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
    dynamoDb.clearFaults()
    await untilFull(service)
    const answers = await Promise.all(keys.map(register))
    assert.deepEqual(
      answers.map(({ status }) => status),
      [201, 201, 201],
    )
    await assertAllIsWell(
      service,
      token.id,
      await Promise.all(answers.map(async (one) => (await one.json()) as Received)),
    )
  })

test('hand-outs that conflict with other transactions are repeated, and each request receives a key', async (t) => {
  const { dynamoDb, service } = await start(t)
  const { secret, token } = await service.token()
  dynamoDb.order({ operation: 'TransactWriteItems', kind: 'conflict', times: 5, containing: FROM_THE_POOL })
  const answers = await Promise.all(Array.from({ length: SIZE }, () => service.register(secret)))
  assert.equal(dynamoDb.faultCount(), 5)
  await assertAllIsWell(
    service,
    token.id,
    await Promise.all(answers.map(async (one) => (await one.json()) as Received)),
  )
})

test('a rotation whose responses of the hand-out are all lost has rotated, and its caller receives the key', async (t) => {
  const { dynamoDb, service } = await start(t)
  const one = await registered(service)
  dynamoDb.order({ operation: 'TransactWriteItems', kind: 'cut', times: 4, containing: FROM_THE_POOL })
  const answer = await manage(service, one, 'POST', '/rotate', { overlap_seconds: 60 })
  assert.equal(answer.status, 201)
  const { api_key_value } = (await answer.json()) as Received
  assert.notEqual(api_key_value, one.api_key_value)
  assert.equal(dynamoDb.faultCount(), 4)
  for (const value of [api_key_value, one.api_key_value]) assert.equal(await dataPlane(service, value), 200)
  await untilFull(service)
  assert.equal((await service.deps.store.listRotations(one.registration_id)).length, 1)
})
