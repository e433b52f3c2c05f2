import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { holdsUse } from '../../src/registration/lifecycle.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { NewRegistration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { unlimitedPolicy } from '../support/service.ts'
import {
  lease,
  newCompletion,
  newIdempotentRegistration,
  newRegistration,
  newRotation,
  type OpenStore,
} from './store-contract.ts'

const NOT_AWAITED = { isAwaited: () => false }
const MANY = 1_000

async function tokenOf(store: Store, maxUses: number): Promise<string> {
  return (await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses }, SERVICE, 1)).token.id
}

async function unanswered(store: Store, tokenId: string, idempotencyKey: string): Promise<NewRegistration> {
  const one = newIdempotentRegistration(tokenId, idempotencyKey)
  await store.beginRegistrations([one], lease)
  await store.completeRegistrations([newCompletion(one, NOT_AWAITED)], 2_000)
  return one
}

const heldIds = async (store: Store, tokenId: string, limit = MANY): Promise<(string | undefined)[]> =>
  (await store.findHeldUses(tokenId, limit)).held.map(({ registration }) => registration?.id)

/** The part of the contract about uses that are spent and can still be refunded. */
export function usesContract(name: string, open: OpenStore): void {
  test(`${name}: findHeldUses finds exactly the registrations whose use holdsUse says can be refunded, with their leases`, async (t) => {
    const store = await open(t)
    const tokenId = await tokenOf(store, 9)
    const other = await tokenOf(store, 2)
    const [pending, undoing, live, answered, failed, revoked] = Array.from({ length: 6 }, (_, i) =>
      newRegistration(tokenId, 1_000 + i),
    )
    assert.ok(pending && undoing && live && answered && failed && revoked)
    const waiting = newIdempotentRegistration(tokenId, 'waiting', 1_010)
    const abandoned = newIdempotentRegistration(tokenId, 'abandoned', 500)
    const ending = newIdempotentRegistration(tokenId, 'ending', 1_011)
    const all = [pending, undoing, live, answered, failed, revoked, waiting, abandoned, ending]
    await store.beginRegistrations([...all, newRegistration(other)], lease)
    await store.startUndoing([{ id: undoing.id, owner: lease.owner }])
    const received = [live, answered, revoked].map((one) => newCompletion(one))
    await store.completeRegistrations(received, 2_000)
    await store.markDelivered([live.id], 2_100)
    await store.completeRegistrations(
      [waiting, abandoned, ending].map((one) => newCompletion(one, NOT_AWAITED)),
      2_000,
    )
    const failing = { failure: 'internal', sweepAt: null, now: 3_000 } as const
    await store.failRegistrations([{ id: failed.id, owner: lease.owner }], failing)
    await store.revokeRegistration(revoked.id, SERVICE, 3_000)
    await store.revokeRegistration(ending.id, SERVICE, 3_000)
    await store.forgetIdempotency(501)
    const rotation = newRotation(live, { createdAt: 3_000 })
    assert.deepEqual(await store.beginRegistrations([rotation], { owner: 'a.2', until: 6_000 }), [
      { outcome: 'begun' },
    ])

    const { isOneLeft, held, isComplete } = await store.findHeldUses(tokenId, MANY)
    assert.deepEqual([isOneLeft, isComplete], [true, true], 'the failed one refunded its use')
    const records = await Promise.all([...all, rotation].map(({ id }) => store.getRegistration(id)))
    const expected = records.filter((one) => one !== undefined).filter(holdsUse)
    assert.deepEqual(
      expected.map(({ id }) => id).sort(),
      [pending, undoing, answered, waiting, abandoned].map(({ id }) => id).sort(),
    )
    const byId = (a: { id?: string | undefined } | null, b: { id?: string | undefined } | null) =>
      String(a?.id).localeCompare(String(b?.id))
    assert.deepEqual(held.map(({ registration }) => registration).sort(byId), expected.sort(byId))
    const leaseOf = (id: string) => held.find(({ registration }) => registration?.id === id)?.leaseUntil
    assert.deepEqual(
      [pending, undoing, waiting].map(({ id }) => leaseOf(id)),
      [5_000, 5_000, null],
    )
    await store.releaseLeases([{ id: pending.id, owner: lease.owner }])
    const after = await store.findHeldUses(tokenId, MANY)
    assert.equal(after.held.find(({ registration }) => registration?.id === pending.id)?.leaseUntil, null)
    assert.deepEqual(await store.findHeldUses('tok_other', MANY), {
      isOneLeft: false,
      held: [],
      isComplete: true,
    })
  })

  test(`${name}: findHeldUses returns the earliest uses, and says when there may be more`, async (t) => {
    const store = await open(t)
    const tokenId = await tokenOf(store, 300)
    const batch = Array.from({ length: 300 }, (_, i) => newRegistration(tokenId, 1_000 + i))
    for (let i = 0; i < batch.length; i += 100) {
      await store.beginRegistrations(batch.slice(i, i + 100), lease)
    }
    const few = await store.findHeldUses(tokenId, 100)
    assert.deepEqual([few.isOneLeft, few.isComplete, few.held.length], [false, false, 100])
    assert.ok(few.held.every(({ registration }) => (registration?.createdAt ?? 0) < 1_100))
    const all = await store.findHeldUses(tokenId, MANY)
    assert.deepEqual([all.isComplete, all.held.length], [true, 300])
  })

  test(`${name}: a token whose registrations are all delivered holds no use that comes back, however many there are`, async (t) => {
    const store = await open(t)
    const tokenId = await tokenOf(store, 1_500)
    const batch = Array.from({ length: 1_500 }, (_, i) => newRegistration(tokenId, 1_000 + i))
    const [last, ...others] = batch.toReversed()
    assert.ok(last)
    await store.beginRegistrations(others.toReversed(), lease)
    await store.completeRegistrations(
      others.map((one) => newCompletion(one)),
      2_000,
    )
    await store.markDelivered(
      others.map(({ id }) => id),
      2_100,
    )
    await store.beginRegistrations([last], lease)
    // Read in parts: a part that is final is not read again.
    let found = await store.findHeldUses(tokenId, 10)
    for (let i = 0; i < 5 && !found.isComplete; i++) found = await store.findHeldUses(tokenId, 10)
    assert.deepEqual(
      found.held.map(({ registration }) => registration?.id),
      [last.id],
    )
    await store.completeRegistrations([newCompletion(last)], 3_000)
    assert.deepEqual(await heldIds(store, tokenId), [last.id])
    await store.markDelivered([last.id], 3_100)
    assert.deepEqual(await store.findHeldUses(tokenId, 10), { isOneLeft: false, held: [], isComplete: true })
  })

  test(`${name}: displaceUnanswered forgets an unanswered registration, and no other`, async (t) => {
    const store = await open(t)
    const tokenId = await tokenOf(store, 20)
    const [pending, live] = [newIdempotentRegistration(tokenId, 'pending'), newRegistration(tokenId)]
    await store.beginRegistrations([pending, live], lease)
    await store.completeRegistrations([newCompletion(live)], 2_000)
    const [first, second, answered, revoked] = [
      await unanswered(store, tokenId, 'first'),
      await unanswered(store, tokenId, 'second'),
      await unanswered(store, tokenId, 'answered'),
      await unanswered(store, tokenId, 'revoked'),
    ]
    assert.ok(await store.markAnswered(answered.id, SERVICE, 3_000))
    await store.revokeRegistration(revoked.id, SERVICE, 3_000)
    const rotation = newRotation(live, { createdAt: 3_000, idempotencyKey: 'rotation' })
    await store.beginRegistrations([rotation], lease)
    await store.completeRegistrations([newCompletion(rotation, NOT_AWAITED)], 3_000)

    for (const { id } of [pending, live, answered, revoked, rotation, { id: 'reg_other' }]) {
      assert.equal(await store.displaceUnanswered(id), false)
    }
    assert.equal(await store.displaceUnanswered(first.id), true)
    assert.equal(await store.displaceUnanswered(first.id), false, 'once')
    const displaced = await store.getRegistration(first.id)
    assert.deepEqual([displaced?.status, displaced?.idempotency], ['active', null])
    const { idempotency } = first
    assert.ok(idempotency)
    assert.equal(await store.findByIdempotencyKey(tokenId, idempotency.keyHash), undefined)
    assert.equal((await store.getRegistration(second.id))?.idempotency !== null, true)
    assert.deepEqual(
      (await store.listRecoverable(9_000, 10)).map(({ id }) => id).sort(),
      [pending.id, first.id].sort(),
    )
    assert.ok((await heldIds(store, tokenId)).includes(first.id), 'its use comes back when it is undone')
  })

  test(`${name}: of a retry that is answered and a request that displaces it, exactly one wins`, async (t) => {
    const store = await open(t)
    const tokenId = await tokenOf(store, 20)
    const retryFirst = await unanswered(store, tokenId, 'retry first')
    assert.ok(await store.markAnswered(retryFirst.id, SERVICE, 3_000))
    assert.equal(await store.displaceUnanswered(retryFirst.id), false)
    const displacedFirst = await unanswered(store, tokenId, 'displaced first')
    assert.equal(await store.displaceUnanswered(displacedFirst.id), true)
    assert.equal(await store.markAnswered(displacedFirst.id, SERVICE, 3_000), undefined)
    for (let round = 0; round < 10; round++) {
      const { id } = await unanswered(store, tokenId, `round ${round}`)
      const [answered, displaced] = await Promise.all([
        store.markAnswered(id, SERVICE, 3_000),
        store.displaceUnanswered(id),
      ])
      assert.equal(answered !== undefined, !displaced)
      const one = await store.getRegistration(id)
      assert.deepEqual(
        [one?.answeredAt, one?.idempotency === null],
        displaced ? [null, true] : [3_000, false],
      )
    }
  })
}
