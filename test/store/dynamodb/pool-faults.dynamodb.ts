import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { SERVICE } from '../../../src/store/audit.ts'
import { openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import { FROM_THE_POOL, type HandOut } from '../../../src/store/pool.ts'
import type { Store } from '../../../src/store/store.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable } from '../../support/dynamodb/new-table.ts'
import {
  ANN,
  BEN,
  fillPool,
  handOut,
  LEASE_MS,
  newHandedOut,
  newHandOut,
  newPoolKeys,
  newReadyKey,
  newTokenId,
  poolKey,
  recordsOf,
  T,
} from '../pool-keys.ts'
import { newIdempotency, newRegistration, newRotation } from '../store-contract.ts'

const WRITE = 'TransactWriteItems'
/** More calls than any of these tests makes. */
const ALL = 1_000

/** Opens two stores on one table: `store` behind a proxy that causes faults, and `other` without it. */
async function openTwo(t: TestContext) {
  const options = await newTable()
  const dynamoDb = await startFaultyProxy(t, options.endpoint)
  const [store, other] = [
    await openDynamoDbStore({ ...options, endpoint: dynamoDb.endpoint }),
    await openDynamoDbStore(options),
  ]
  t.after(() => Promise.all([store.close(), other.close()]))
  return { dynamoDb, store, other }
}

/** Asserts that each is either handed out as a whole, or not at all. @returns those that are handed out */
async function assertWhole(store: Store, handOuts: readonly HandOut[]): Promise<HandOut[]> {
  const pool = new Map((await store.listPoolKeys()).map((key) => [key.id, key]))
  const entries = (await store.listAudit({ limit: ALL })).filter(({ detail }) => detail === FROM_THE_POOL)
  const done: HandOut[] = []
  for (const one of handOuts) {
    const { poolKeyId, apiKeyId, registration } = one
    const record = await store.getRegistration(registration.id)
    const audited = entries.filter((entry) => entry.apiKeyId === apiKeyId).length
    if (record === undefined) {
      assert.deepEqual([pool.get(poolKeyId)?.state, audited], ['ready', 0])
      continue
    }
    assert.deepEqual([record.status, record.apiKeyId, record.answeredAt], ['active', apiKeyId, T])
    assert.deepEqual([pool.get(poolKeyId), audited], [undefined, 1])
    done.push(one)
  }
  for (const { id, uses } of await store.listTokens())
    assert.equal(
      uses,
      done.filter(({ registration: { tokenId, rotation } }) => tokenId === id && !rotation).length,
    )
  return done
}

test('a hand-out whose response is lost is repeated without a second effect', async (t) => {
  const { dynamoDb, store } = await openTwo(t)
  const tokenId = await newTokenId(store)
  const root = newHandOut(await newReadyKey(store), {
    ...newRegistration(tokenId, T),
    idempotency: newIdempotency('k'),
  })
  const rotation = newHandOut(await newReadyKey(store), newRotation(root.registration, { createdAt: T }))
  for (const one of [root, rotation]) {
    dynamoDb.order({ operation: WRITE, kind: 'cut', times: 1 })
    assert.equal((await handOut(store, one)).outcome, 'handed_out')
  }
  assert.equal(dynamoDb.faultCount(), 2)
  assert.equal((await store.getRegistration(root.registration.id))?.currentId, rotation.registration.id)
  assert.equal((await store.getToken(tokenId))?.uses, 1)
})

test('a hand-out whose responses are all lost fails, and its record says that it happened; repeating it loses the key', async (t) => {
  const { dynamoDb, store, other } = await openTwo(t)
  const tokenId = await newTokenId(store)
  const root = newHandOut(await newReadyKey(store), newRegistration(tokenId, T))
  const rotation = newHandOut(await newReadyKey(store), newRotation(root.registration, { createdAt: T }))
  for (const one of [root, rotation]) {
    dynamoDb.order({ operation: WRITE, kind: 'cut', times: ALL })
    await assert.rejects(handOut(store, one), { code: 'store_unavailable' })
    dynamoDb.clearFaults()
    assert.equal((await store.getRegistration(one.registration.id))?.status, 'active')
    assert.deepEqual(await store.discardPoolKeys([one.poolKeyId], ANN, T), new Set(), 'its key is gone')
    assert.equal((await handOut(store, one)).outcome, 'key_lost')
  }
  await assertWhole(other, [root, rotation])
})

test('a hand-out that is still on its way when its caller gives up has no effect once its key is discarded', async (t) => {
  const { dynamoDb, store, other } = await openTwo(t)
  const one = newHandOut(await newReadyKey(store), newRegistration(await newTokenId(store), T))
  const { promise: isDiscarded, resolve: discarded } = Promise.withResolvers<void>()
  dynamoDb.onCall = async (_operation, body) => {
    if (body.includes(one.registration.id)) await isDiscarded
  }
  await assert.rejects(handOut(store, one), { code: 'store_unavailable' })
  assert.deepEqual(await other.discardPoolKeys([one.poolKeyId], ANN, T), new Set([one.poolKeyId]))
  discarded()
  dynamoDb.onCall = async () => undefined
  assert.equal((await handOut(store, one)).outcome, 'key_lost')
  assert.equal(await other.getRegistration(one.registration.id), undefined)
  assert.equal((await other.getToken(one.registration.tokenId))?.uses, 0)
})

for (const kind of ['throttle', 'denied', 'cut'] as const)
  test(`if one transaction of a large hand-out fails (${kind}), each key is handed out as a whole or not at all, and the others afterwards`, async (t) => {
    const { dynamoDb, store, other } = await openTwo(t)
    const everything: HandOut[] = []
    // A victim in each transaction: those of the token that needs several, and that which two tokens share.
    for (const place of [0, 45, 62]) {
      const [large, small, third] = [
        await newTokenId(store),
        await newTokenId(store),
        await newTokenId(store),
      ]
      const tokens = [...Array(60).fill(large), ...Array(4).fill(small), third]
      const all = (await fillPool(store, tokens.length)).map((key, i) =>
        newHandOut(key, { ...newRegistration(tokens[i] ?? '', T), idempotency: newIdempotency(`${i}`) }),
      )
      everything.push(...all)
      const victim = all[place]
      assert.ok(victim)
      dynamoDb.order({ operation: WRITE, kind, times: ALL, containing: victim.registration.id })
      await assert.rejects(store.handOutPoolKeys(all, T), {
        code: kind === 'throttle' ? 'upstream_throttled' : 'store_unavailable',
      })
      dynamoDb.clearFaults()
      const done = await assertWhole(other, everything)
      assert.equal(done.includes(victim), kind === 'cut')
      const left = all.filter((one) => !done.includes(one))
      for (const { outcome } of await store.handOutPoolKeys(left, T)) assert.equal(outcome, 'handed_out')
      assert.equal((await assertWhole(other, everything)).length, everything.length)
    }
  })

test('when a hand-out fails, no other transaction of the same call is on its way any more', async (t) => {
  const { dynamoDb, store, other } = await openTwo(t)
  const tokens = [await newTokenId(store), await newTokenId(store)]
  const all = (await fillPool(store, 80)).map((key, i) =>
    newHandOut(key, newRegistration(tokens[i % 2] ?? '', T)),
  )
  const [victim, slow] = all
  assert.ok(victim && slow)
  dynamoDb.order({ operation: WRITE, kind: 'denied', times: ALL, containing: victim.registration.id })
  dynamoDb.onCall = async (_operation, body) => {
    if (body.includes(slow.registration.id)) await sleep(300)
  }
  await assert.rejects(store.handOutPoolKeys(all, T))
  const before = await recordsOf(other)
  assert.ok(await other.getRegistration(slow.registration.id))
  await sleep(500)
  assert.deepEqual(await recordsOf(other), before)
})

test('hand-outs that conflict with other transactions are repeated', async (t) => {
  const { dynamoDb, store } = await openTwo(t)
  const tokenId = await newTokenId(store)
  const keys = await fillPool(store, 10)
  dynamoDb.order({ operation: WRITE, kind: 'conflict', times: 4 })
  const handOuts = keys.map((key) => newHandOut(key, newRegistration(tokenId, T)))
  for (const { outcome } of await store.handOutPoolKeys(handOuts, T)) assert.equal(outcome, 'handed_out')
  assert.equal(dynamoDb.faultCount(), 4)
  assert.equal((await store.getToken(tokenId))?.uses, 10)
})

test('a rotation that is handed out while its registration changes is decided by what it has become', async (t) => {
  const { dynamoDb, store, other } = await openTwo(t)
  const changes = {
    ended: (id: string) => other.revokeRegistration(id, SERVICE, T),
    suspended: (id: string) => other.setSuspended(id, true, SERVICE, T),
    deleting: async (id: string) => {
      const root = await other.getRegistration(id)
      assert.ok(root)
      const rotation = newHandOut(await newReadyKey(other), newRotation(root, { createdAt: T }))
      assert.equal((await handOut(other, rotation)).outcome, 'handed_out')
    },
  }
  for (const [outcome, change] of Object.entries(changes)) {
    const root = await newHandedOut(store, await newTokenId(store))
    const one = newHandOut(await newReadyKey(store), newRotation(root, { createdAt: T, overlapMs: 5_000 }))
    let changed: Promise<unknown> | undefined
    dynamoDb.onCall = async (operation, body) => {
      // Everything is read, and the transaction is about to be written.
      if (operation !== WRITE || !body.includes(one.registration.id)) return
      changed ??= change(root.id)
      await changed
    }
    assert.equal((await handOut(store, one)).outcome, outcome)
    dynamoDb.onCall = async () => undefined
    assert.equal((await poolKey(store, { id: one.poolKeyId }))?.state, 'ready')
    assert.equal(await store.getRegistration(one.registration.id), undefined)
  }
})

test('keys that another process adds between the count and the write of a refill are counted', async (t) => {
  const { dynamoDb, store, other } = await openTwo(t)
  let added: Promise<unknown> | undefined
  dynamoDb.onCall = async (operation) => {
    if (operation !== WRITE) return
    added ??= other.beginPoolKeys(newPoolKeys(3), BEN, 5)
    await added
  }
  assert.equal((await store.beginPoolKeys(newPoolKeys(5), ANN, 5)).size, 2)
  assert.equal((await other.listPoolKeys()).length, 5)
})

test('a refill, a step, a take-over or a release that fails can be repeated', async (t) => {
  const { dynamoDb, store, other } = await openTwo(t)
  const failing = async (work: () => Promise<unknown>) => {
    dynamoDb.order({ operation: WRITE, kind: 'denied', times: ALL })
    await assert.rejects(work())
    dynamoDb.clearFaults()
  }
  const keys = newPoolKeys(150)
  const ids = keys.map(({ id }) => id)
  const begin = () => store.beginPoolKeys(keys, ANN, 200)
  await failing(begin)
  assert.deepEqual(await store.listPoolKeys(), [])
  assert.equal((await begin()).size, 150)

  const changes = keys.map(({ id }) => ({ id, to: 'warming', apiKeyId: id, seenWorking: false }) as const)
  const advance = () => store.advancePoolKeys(changes, ANN, T)
  await failing(advance)
  // One of its transactions fails: the result names what the others moved, and the rest can be moved again.
  dynamoDb.order({ operation: WRITE, kind: 'denied', times: ALL, containing: ids[0] ?? '' })
  const moved = await advance()
  dynamoDb.clearFaults()
  assert.ok(moved.size >= 50 && moved.size < 150, `${moved.size} moved`)
  assert.equal((await advance()).size, 150 - moved.size)

  const isRepeated = async (work: () => Promise<unknown>) => {
    await failing(work)
    return work()
  }
  await isRepeated(() => store.renewPoolHolder({ owner: ANN, until: T + LEASE_MS, sizes: {}, trouble: null }))
  assert.equal((await other.takePoolKeys(ids, BEN, T)).size, 0)
  await isRepeated(() => store.givePoolKeysUp(ids.slice(0, 2), ANN))
  await isRepeated(() => store.releasePoolHolder(ANN))
  assert.deepEqual(new Set((await other.listPoolKeys()).map(({ holder }) => holder)), new Set([null]))
  assert.deepEqual(await isRepeated(() => store.takePoolKeys(ids, BEN, T)), new Set(ids))
  assert.deepEqual(await isRepeated(() => store.discardPoolKeys(ids, BEN, T)), new Set(ids))
  await isRepeated(() => store.forgetPoolKeys(ids, BEN))
  assert.deepEqual(await other.listPoolKeys(), [])
})
