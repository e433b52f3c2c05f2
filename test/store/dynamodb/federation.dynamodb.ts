import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { issueBootstrapToken } from '../../../src/auth/bootstrap-token.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { copyStore } from '../../../src/store/copy-store.ts'
import { connect } from '../../../src/store/dynamodb/connection.ts'
import { type Item, update } from '../../../src/store/dynamodb/expressions.ts'
import { openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import type { NewRegistration } from '../../../src/store/records.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import type { Store } from '../../../src/store/store.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable } from '../../support/dynamodb/new-table.ts'
import { checkFederation } from '../../support/federation-model.ts'
import { assertPlaces, isClaimed } from '../../support/invariants.ts'
import { unlimitedPolicy } from '../../support/service.ts'
import {
  accessToken,
  newFederated,
  newFederatedRotation,
  newProof,
  newVirtualToken,
} from '../federation-contract.ts'
import { lease, newCompletion, newIdempotentRegistration, newRotation } from '../store-contract.ts'

const FAILED = { failure: 'internal', sweepAt: null, now: 3_000 } as const

async function openTable(t: TestContext): Promise<Store> {
  const store = await openDynamoDbStore(await newTable())
  t.after(() => store.close())
  return store
}

/** Opens a table twice, the first time behind a proxy that causes faults. */
async function openTwo(t: TestContext) {
  const options = await newTable()
  const proxy = await startFaultyProxy(t, options.endpoint)
  const [store, other, db] = [
    await openDynamoDbStore({ ...options, endpoint: proxy.endpoint }),
    await openDynamoDbStore(options),
    connect(options),
  ]
  t.after(() => Promise.all([store.close(), other.close(), db.client.destroy()]))
  return { proxy, store, other, db }
}

const beginOne = async (store: Store, one: NewRegistration) =>
  (await store.beginRegistrations([one], lease))[0]
const complete = (store: Store, one: NewRegistration, now = 2_000) =>
  store.completeRegistrations([newCompletion(one)], now)

test('a copy keeps virtual tokens, places, names, proofs and access tokens, from a file and from a table', async (t) => {
  const now = Date.now()
  const file = openSqliteStore(':memory:')
  t.after(() => file.close())
  const token = await file.putVirtualToken(newVirtualToken({ maxLive: 3 }, { createdAt: now }), SERVICE)
  const [used, free, spent, gone] = [
    newProof(now + 9_000),
    newProof(now + 9_000),
    newProof(now + 9_000),
    newProof(1),
  ]
  const one = newFederated(token, { proof: used, name: 'one' })
  const old = newFederated(token, { proof: gone, name: 'old' })
  const failed = newFederated(token, { proof: free, name: 'failed' })
  const ended = newFederated(token, { name: 'ended' })
  await file.beginRegistrations([one, old, failed], lease)
  await file.failRegistrations([{ id: failed.id, owner: lease.owner }], { ...FAILED, now })
  await file.beginRegistrations([ended], lease)
  for (const each of [one, old, ended]) await complete(file, each, now)
  await file.revokeRegistration(ended.id, SERVICE, now)
  const shown = accessToken(token, now + 5_000)
  await file.createAccessToken(shown, spent, { ...SERVICE, identity: IDENTITY }, now)
  await file.createAccessToken(accessToken(token, 5_000), null, SERVICE, now)

  let from: Store = file
  for (const round of ['a file', 'a table']) {
    const to = await newTable()
    for (let i = 0; i < 2; i++)
      await copyStore(
        from,
        to,
        () => now,
        () => undefined,
      )
    const copy = await openDynamoDbStore(to)
    t.after(() => copy.close())
    await assertPlaces(copy)
    const copied = await copy.getToken(token.id)
    assert.deepEqual([copied?.federation, copied?.uses], [token.federation, 2], round)
    assert.equal((await copy.findLiveByName(token.id, 'one'))?.id, one.id)
    const claimed = await Promise.all([used, free, spent, gone].map((proof) => isClaimed(copy, proof)))
    assert.deepEqual(claimed, [true, false, true, false], 'the last one is forgotten')
    assert.equal((await copy.findAccessToken(shown.secretHash))?.token.id, token.id)
    assert.equal((await copy.listAccessTokens()).length, 1, 'the other one is over')
    const [entry] = await copy
      .listAudit({ since: now, limit: 9 })
      .then((all) => all.filter((e) => e.actor.identity))
    assert.deepEqual(entry?.actor.identity, IDENTITY)
    from = copy
  }
  const third = newFederated(token)
  assert.equal((await beginOne(from, third))?.outcome, 'begun')
  assert.equal((await beginOne(from, newFederated(token)))?.outcome, 'refused')
  await from.revokeRegistration(one.id, SERVICE, now)
  assert.equal((await beginOne(from, newFederated(token, { name: 'one' })))?.outcome, 'begun')
  await assertPlaces(from)
})

const IDENTITY = {
  issuer: 'https://a.example',
  rule: 'acme-ci',
  claims: { sub: 'a', nested: { n: [1, null] } },
}

test('a large batch of one identity begins each registration whose proof and name are free, and costs nothing for the others', async (t) => {
  const store = await openTable(t)
  const token = await store.putVirtualToken(newVirtualToken({ maxLive: 100 }), SERVICE)
  const [proof, spent] = [newProof(), newProof()]
  const first = newFederated(token, { proof, name: 'taken', key: 'first' })
  await beginOne(store, first)
  await store.createAccessToken(accessToken(token), spent, SERVICE, 1)
  const fresh = Array.from({ length: 96 }, (_, i) => newFederated(token, { proof: newProof(), key: `k${i}` }))
  const [again, replay, stolen, named] = [
    newFederated(token, { proof, name: 'taken', key: 'first' }),
    newFederated(token, { proof, key: 'replay' }),
    newFederated(token, { proof: spent, key: 'spent' }),
    newFederated(token, { proof: newProof(), name: 'taken', key: 'named' }),
  ]
  const twin = newFederated(token, { proof: fresh[5]?.federated?.proof ?? null, key: 'twin' })
  const all = [again, replay, ...fresh, stolen, named, twin]
  const outcomes = await store.beginRegistrations(all, { owner: 'b', until: 9_000 })
  const of = (one: NewRegistration) => outcomes[all.indexOf(one)]
  assert.deepEqual(
    [of(again), of(replay), of(stolen), of(named), of(twin)],
    [
      { outcome: 'duplicate' },
      { outcome: 'replayed', holder: first.id },
      { outcome: 'replayed', holder: null },
      { outcome: 'name_taken', registrationId: first.id },
      { outcome: 'replayed', holder: fresh[5]?.id },
    ],
  )
  assert.ok(fresh.every((one) => of(one)?.outcome === 'begun'))
  assert.equal((await store.getToken(token.id))?.uses, 97)
  const named2 = named.federated?.proof
  assert.ok(named2)
  assert.equal(await isClaimed(store, named2), false)
  await assertPlaces(store)
})

test('a process that dies within a large batch leaves no proof and no name claimed by what it did not begin', async (t) => {
  const { proxy, store, other } = await openTwo(t)
  const token = await other.putVirtualToken(newVirtualToken(), SERVICE)
  const batch = Array.from({ length: 80 }, () => newFederated(token, { proof: newProof() }))
  const victim = batch[60]?.id ?? ''
  proxy.order({ operation: 'TransactWriteItems', kind: 'denied', times: 1_000, containing: victim })
  await assert.rejects(store.beginRegistrations(batch, { owner: 'dead', until: 5_000 }))
  // The transactions beside the failed one are not stopped.
  const isBegun = async (one: NewRegistration | undefined) =>
    (await other.getRegistration(one?.id ?? '')) !== undefined
  while (!((await isBegun(batch[0])) && (await isBegun(batch.at(-1))))) await sleep(10)
  const begun = await Promise.all(batch.map(({ id }) => other.getRegistration(id)))
  const left = batch.filter((_, i) => begun[i] === undefined)
  assert.ok(left.length > 0 && left.length < batch.length, `${left.length}`)
  for (const one of batch) {
    const holds = !left.includes(one)
    assert.equal(await isClaimed(other, one.federated?.proof ?? newProof()), holds)
    assert.equal((await other.findLiveByName(token.id, one.name)) !== undefined, holds)
  }
  await other.refundAbandonedUses(5_000, 100)
  assert.equal((await other.getToken(token.id))?.uses, batch.length - left.length)
  await assertPlaces(other)
  const retried = await other.beginRegistrations(left, lease)
  assert.ok(retried.every(({ outcome }) => outcome === 'begun'))
})

test('a proof, and the use and the name with it, are claimed or not: a transaction whose response is lost claims once', async (t) => {
  const { proxy, store, other } = await openTwo(t)
  const token = await other.putVirtualToken(newVirtualToken({ maxLive: 1 }), SERVICE)
  const one = newFederated(token, { proof: newProof(), key: 'k' })
  proxy.order({ operation: 'TransactWriteItems', kind: 'denied', times: 1 })
  await assert.rejects(beginOne(store, one))
  assert.equal((await other.getToken(token.id))?.uses, 0)
  assert.equal(await isClaimed(other, one.federated?.proof ?? newProof()), false)
  assert.equal(await other.findLiveByName(token.id, one.name), undefined)
  proxy.order({ operation: 'TransactWriteItems', kind: 'cut', times: 1 })
  assert.equal((await beginOne(store, one))?.outcome, 'begun')
  proxy.order({ operation: 'TransactWriteItems', kind: 'cut', times: 1 })
  const failed = await store.failRegistrations([{ id: one.id, owner: lease.owner }], FAILED)
  assert.deepEqual([...failed], [one.id])
  assert.equal((await other.getToken(token.id))?.uses, 0)
  await assertPlaces(other)
})

/** Runs `meanwhile` once, just before the first transaction that contains a text. */
function beforeWrite(
  proxy: Awaited<ReturnType<typeof startFaultyProxy>>,
  containing: string,
  meanwhile: () => Promise<unknown>,
) {
  let isDone = false
  proxy.onCall = async (operation, body) => {
    if (isDone || operation !== 'TransactWriteItems' || !body.includes(containing)) return
    isDone = true
    await meanwhile()
  }
}

test('a proof or a name that is given back while another registration begins with it leads to one that begins', async (t) => {
  for (const what of ['proof', 'name']) {
    const { proxy, store, other } = await openTwo(t)
    const token = await other.putVirtualToken(newVirtualToken(), SERVICE)
    const proof = newProof()
    const first = newFederated(token, { proof, name: 'a', key: 'first' })
    await beginOne(other, first)
    const next = what === 'proof' ? newFederated(token, { proof }) : newFederated(token, { name: 'a' })
    // The transaction finds the claim; before its holder is read, it is given back.
    let found = false
    proxy.onCall = async (operation, body) => {
      if (operation === 'TransactWriteItems' && body.includes(next.id)) found = true
      if (operation !== 'GetItem' || !found) return
      found = false
      await other.failRegistrations([{ id: first.id, owner: lease.owner }], FAILED)
    }
    assert.deepEqual(await beginOne(store, next), { outcome: 'begun' }, what)
    await assertPlaces(other)
  }
})

test('a key that expires while a rotation takes its place leaves the registration its place', async (t) => {
  const { proxy, store, other } = await openTwo(t)
  const token = await other.putVirtualToken(newVirtualToken({ maxLive: 1 }), SERVICE)
  const one = newFederated(token, { expiresAt: 8_000 })
  await beginOne(other, one)
  await complete(other, one)
  const rotation = newRotation(one, { createdAt: 2_500, overlapMs: 1_000 })
  await beginOne(other, rotation)
  beforeWrite(proxy, one.id, () => complete(other, rotation))
  assert.deepEqual(await store.startEndings([one.id], 8_000), [])
  assert.equal((await other.getToken(token.id))?.uses, 1)
  assert.equal((await other.findLiveByName(token.id, one.name))?.id, one.id)
  await assertPlaces(other)

  // Its replaced key ends; the present one expires while an operator revokes the registration.
  await other.startEndings([one.id], 8_000)
  await other.finishEndings([one.id], 8_000)
  const last = newRotation(one, { createdAt: 2_600, expiresAt: 9_000 })
  await beginOne(other, last)
  await complete(other, last)
  beforeWrite(proxy, last.id, () => other.startEndings([last.id], 9_000))
  await store.revokeRegistration(one.id, SERVICE, 9_001)
  assert.equal((await other.getToken(token.id))?.uses, 0)
  await assertPlaces(other)
})

test('a key that is gone, or is revoked, while a rotation takes its place ends with it, or leaves the registration its place', async (t) => {
  const { proxy, store, other } = await openTwo(t)
  const token = await other.putVirtualToken(newVirtualToken(), SERVICE)
  for (const what of ['gone', 'revoked']) {
    const one = newFederated(token)
    await beginOne(other, one)
    await complete(other, one)
    const rotation = newRotation(one, { createdAt: 2_500, overlapMs: 60_000 })
    beforeWrite(proxy, one.id, async () => {
      await beginOne(other, rotation)
      await complete(other, rotation)
    })
    if (what === 'gone') await store.endKeys([one.id], SERVICE, 3_000)
    else await store.revokeRegistration(one.id, SERVICE, 3_000)
    assert.equal((await other.getRegistration(one.id))?.status, 'ending')
    const present = (await other.getRegistration(rotation.id))?.status
    assert.equal(present, what === 'gone' ? 'active' : 'ending')
    await assertPlaces(other)
  }
  assert.equal((await other.getToken(token.id))?.uses, 1)
})

test('a rotation that was never answered and expires while a caller receives it gives the place back', async (t) => {
  const { proxy, store, other } = await openTwo(t)
  const token = await other.putVirtualToken(newVirtualToken(), SERVICE)
  const one = newFederated(token)
  await beginOne(other, one)
  await complete(other, one)
  const rotation = newFederatedRotation(
    one,
    { createdAt: 2_500, expiresAt: 8_000, idempotencyKey: 'r' },
    null,
  )
  await beginOne(other, rotation)
  await other.completeRegistrations([newCompletion(rotation, { isAwaited: () => false })], 2_500)
  // By a clock that is behind.
  beforeWrite(proxy, rotation.id, () => other.markAnswered(rotation.id, SERVICE, 7_999))
  await store.startEndings([rotation.id], 8_000)
  await store.startEndings([rotation.id], 8_001)
  assert.equal((await other.getRegistration(rotation.id))?.status, 'ending')
  assert.equal((await other.getToken(token.id))?.uses, 0)
  await assertPlaces(other)
})

test('two ends of one registration at once, in two processes, give its place back once', async (t) => {
  const { proxy, store, other } = await openTwo(t)
  const token = await other.putVirtualToken(newVirtualToken(), SERVICE)
  const keep = newFederated(token)
  await beginOne(other, keep)
  await complete(other, keep)
  const ends: Record<string, (of: Store, id: string) => Promise<unknown>> = {
    expiry: (of, id) => of.startEndings([id], 8_000),
    revocation: (of, id) => of.revokeRegistration(id, SERVICE, 8_000),
    'missing key': (of, id) => of.endKeys([id], SERVICE, 8_000),
  }
  for (const [a, first] of Object.entries(ends))
    for (const [b, second] of Object.entries(ends)) {
      const one = newFederated(token, { expiresAt: 8_000 })
      await beginOne(other, one)
      await complete(other, one)
      beforeWrite(proxy, one.id, () => first(other, one.id))
      await second(store, one.id)
      assert.equal((await other.getToken(token.id))?.uses, 1, `${a}, then ${b}`)
      assert.equal((await other.getRegistration(one.id))?.status, 'ending')
    }
  await assertPlaces(other)
})

test('an ordinary registration writes no item more for federation; a federated one writes its proof and its name', async (t) => {
  const { proxy, store, other } = await openTwo(t)
  const { token } = await issueBootstrapToken(other, unlimitedPolicy, SERVICE, 1)
  const identity = await other.putVirtualToken(newVirtualToken(), SERVICE)
  const ordinary = (key: string) => ({ ...newIdempotentRegistration(token.id, key), expiresAt: 8_000 })
  const federated = (key: string) => newFederated(identity, { proof: newProof(), key, expiresAt: 8_000 })
  let items: number[] = []
  proxy.onCall = async (operation, body) => {
    if (operation === 'TransactWriteItems') items.push(JSON.parse(body).TransactItems.length)
  }
  const count = async (work: Promise<unknown>) => {
    await work
    const counted = items
    items = []
    return counted
  }
  for (const [newOne, more] of [
    [ordinary, [0, 0, 0]],
    [federated, [2, 2, 2]],
  ] as const) {
    const [live, failed, revoked, expired] = ['a', 'b', 'c', 'd'].map(newOne)
    assert.ok(live && failed && revoked && expired)
    // The lease, the token, its spend, the item of the idempotency key, and the registration.
    assert.deepEqual(await count(beginOne(store, live)), [5 + more[0]])
    assert.deepEqual(await count(complete(store, live)), [2])
    await other.beginRegistrations([failed, revoked, expired], lease)
    // The registration, the item of the idempotency key, the audit entry, and the token.
    const failing = store.failRegistrations([{ id: failed.id, owner: lease.owner }], FAILED)
    assert.deepEqual(await count(failing), [4 + more[1]])
    for (const one of [revoked, expired]) await complete(other, one)
    const [ending] = await count(store.revokeRegistration(revoked.id, SERVICE, 3_000))
    assert.equal(ending, 2 + more[2])
    assert.deepEqual(await count(store.startEndings([expired.id], 8_000)), [2 + more[2]])
  }
  assert.deepEqual(await count(store.putVirtualToken(identity, SERVICE)), [], 'nothing differs')
})

test('an item of a federated caller with an invalid attribute causes an error that names it, and never counts as free', async (t) => {
  const { store, db } = await openTwo(t)
  const token = await store.putVirtualToken(newVirtualToken(), SERVICE)
  const proof = newProof()
  const one = newFederated(token, { proof, name: 'one' })
  await beginOne(store, one)
  const shown = accessToken(token)
  await store.createAccessToken(shown, null, SERVICE, 1)
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
  const assertRejected = async (pk: string, attributes: Item, read: () => Promise<unknown>) => {
    await db.write(update({ pk, sk: '-' }, { set: attributes }))
    await assert.rejects(read(), (error: unknown) => error instanceof Error && error.message.includes(pk))
  }
  const next = () => beginOne(store, newFederated(token, { proof }))
  await assertRejected(`proof#${hex(proof.hash)}`, { holder: 7 }, next)
  await assertRejected(`name#${token.id}#one`, { holder: true }, () => store.findLiveByName(token.id, 'one'))
  await assertRejected(`access#${hex(shown.secretHash)}`, { expiresAt: 'soon' }, () =>
    store.findAccessToken(shown.secretHash),
  )
  await assertRejected(one.id, { federated: { holdsName: true } }, () => store.getRegistration(one.id))
  for (const federation of [7, '{', '{"issuer":"a"}'])
    await assertRejected(token.id, { federation }, () => store.putVirtualToken(token, SERVICE))
})

test('two changes of a grant at once, in two processes, leave as many uses as the stored limit allows', async (t) => {
  const { proxy, store, other } = await openTwo(t)
  const token = newVirtualToken({ maxLive: 5 })
  const withLimit = (maxLive: number | null) => ({
    ...token,
    federation: token.federation && { ...token.federation, maxLive },
  })
  await other.putVirtualToken(token, SERVICE)
  beforeWrite(proxy, token.id, () => other.putVirtualToken(withLimit(null), SERVICE))
  await store.putVirtualToken(withLimit(2), SERVICE)
  const begun = await other.beginRegistrations(
    Array.from({ length: 3 }, () => newFederated(token)),
    lease,
  )
  assert.deepEqual(
    begun.map(({ outcome }) => outcome),
    ['begun', 'begun', 'refused'],
  )
})

test('a proof whose item was removed and claimed by another does not keep its registration from failing', async (t) => {
  const { store, db } = await openTwo(t)
  const token = await store.putVirtualToken(newVirtualToken(), SERVICE)
  const proof = newProof()
  const one = newFederated(token, { proof })
  await beginOne(store, one)
  // As DynamoDB does after it expired.
  await db.write({ Delete: { Key: { pk: `proof#${Buffer.from(proof.hash).toString('hex')}`, sk: '-' } } })
  const next = newFederated(token, { proof })
  assert.equal((await beginOne(store, next))?.outcome, 'begun')
  assert.equal((await store.failRegistrations([{ id: one.id, owner: lease.owner }], FAILED)).size, 1)
  assert.equal(await isClaimed(store, proof), true)
})

test('places, names and proofs agree with the records after random histories (fixed seed)', () =>
  checkFederation(async () => openDynamoDbStore(await newTable()), { numRuns: 5, seed: 20_261_128 }))
