import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { isUseFinal, phaseOf } from '../../src/registration/lifecycle.ts'
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

const OTHER = { owner: 'b.1', until: 90_000 }

async function newTokenId(store: Store): Promise<string> {
  return (await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)).token.id
}

/** Records a registration or rotation that is active, and answered at `answeredAt`. */
async function answer(store: Store, one: NewRegistration, answeredAt: number): Promise<NewRegistration> {
  await store.beginRegistrations([one], lease)
  assert.ok((await store.completeRegistrations([newCompletion(one)], answeredAt)).has(one.id))
  return one
}

const idsOf = (some: readonly { readonly id: string }[]) => some.map(({ id }) => id)

/** The part of the contract about responses: which are known to be delivered, and which are in doubt. */
export function deliveryContract(name: string, open: OpenStore): void {
  test(`${name}: an answer is in doubt until it is recorded as delivered; the first time stays`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const late = await answer(store, newRegistration(token), 3_000)
    const early = await answer(store, newRegistration(token), 2_000)
    const delivered = await answer(store, newRegistration(token), 2_000)
    const pending = newRegistration(token)
    await store.beginRegistrations([pending], lease)
    for (const now of [2_500, 9_000]) await store.markDelivered([delivered.id, pending.id, 'reg_other'], now)
    assert.deepEqual(idsOf(await store.listInDoubt(1_999, 9)), [])
    assert.deepEqual(idsOf(await store.listInDoubt(2_000, 9)), [early.id])
    assert.deepEqual(idsOf(await store.listInDoubt(3_000, 9)), [early.id, late.id])
    assert.deepEqual(idsOf(await store.listInDoubt(3_000, 1)), [early.id])
    const times = async ({ id }: NewRegistration) => {
      const one = await store.getRegistration(id)
      assert.ok(one)
      return [one.answeredAt, one.deliveredAt, isUseFinal(one)]
    }
    assert.deepEqual(await times(delivered), [2_000, 2_500, true])
    assert.deepEqual(await times(late), [3_000, null, false])
    assert.deepEqual(await times(pending), [null, null, false])
  })

  test(`${name}: of a delivery and the undo of an answer in doubt, the first wins`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const managed = await answer(store, newRegistration(token), 2_000)
    const undone = await answer(store, newRegistration(token), 2_000)
    await store.markDelivered([managed.id], 5_000)
    assert.deepEqual([...(await store.withdrawAnswers([managed.id, undone.id], 5_000, OTHER))], [undone.id])
    await store.markDelivered([managed.id, undone.id], 6_000)
    const states = await Promise.all(
      [managed, undone].map(async ({ id }) => {
        const one = await store.getRegistration(id)
        return [one?.status, one?.undoing, one?.answeredAt, one?.deliveredAt]
      }),
    )
    assert.deepEqual(states, [
      ['active', false, 2_000, 5_000],
      ['pending', true, null, null],
    ])
    const failing = { failure: 'undelivered', sweepAt: null, now: 7_000 } as const
    const held = [managed, undone].map(({ id }) => ({ id, owner: OTHER.owner }))
    assert.deepEqual([...(await store.failRegistrations(held, failing))], [undone.id])
    assert.equal((await store.getToken(token))?.uses, 1, 'its use is refunded')
  })

  test(`${name}: a replay that is being answered is not withdrawn, and neither is a younger answer`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const replayed = await answer(store, newIdempotentRegistration(token, 'k', 1_000), 2_000)
    assert.ok(await store.markAnswered(replayed.id, SERVICE, 8_000))
    await store.forgetIdempotency(1_001)
    const younger = await answer(store, newRegistration(token), 5_001)
    assert.equal((await store.withdrawAnswers(idsOf([replayed, younger]), 5_000, OTHER)).size, 0)
    assert.deepEqual(idsOf(await store.listInDoubt(8_000, 9)), [younger.id, replayed.id])
    assert.equal((await store.withdrawAnswers(idsOf([replayed, younger]), 8_000, OTHER)).size, 2)
    assert.deepEqual(await store.listInDoubt(90_000, 9), [])
  })

  test(`${name}: an answer that reached no caller is retracted, unless a retry was answered since`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const keyed = (key: string) => answer(store, newIdempotentRegistration(token, key), 2_000)
    const lost = await keyed('lost')
    const delivered = await keyed('delivered')
    const retried = await keyed('retried')
    const plain = await answer(store, newRegistration(token), 2_000)
    await store.markDelivered([delivered.id], 2_500)
    assert.ok(await store.markAnswered(retried.id, SERVICE, 2_000), 'even in the same millisecond')
    await store.retractAnswers(idsOf([lost, delivered, retried, plain]), 2_000)
    const phase = async ({ id }: NewRegistration) => {
      const one = await store.getRegistration(id)
      return one && phaseOf(one)
    }
    assert.deepEqual(await Promise.all([lost, delivered, retried, plain].map(phase)), [
      'unanswered',
      'live',
      'answered',
      'answered',
    ])
    assert.deepEqual(idsOf(await store.listInDoubt(9_000, 9)).sort(), idsOf([retried, plain]).sort())
    assert.ok(await store.displaceUnanswered(lost.id))
    assert.deepEqual(idsOf(await store.listRecoverable(99_000, 9)), [lost.id])
  })

  test(`${name}: a rotation is in doubt by itself; its registration counts as delivered`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const root = await answer(store, newRegistration(token), 2_000)
    const first = await answer(store, newRotation(root, { createdAt: 3_000, overlapMs: 90_000 }), 3_000)
    assert.equal((await store.getRegistration(root.id))?.deliveredAt, 3_000)
    assert.deepEqual(idsOf(await store.listInDoubt(9_000, 9)), [first.id])
    const unheard = newRotation(root, { createdAt: 4_000, overlapMs: 90_000, idempotencyKey: 'r' })
    await store.beginRegistrations([unheard], lease)
    const waiting = newCompletion(unheard, { isAwaited: () => false })
    assert.ok((await store.completeRegistrations([waiting], 4_000)).has(unheard.id))
    assert.ok(await store.markAnswered(unheard.id, SERVICE, 5_000))
    assert.deepEqual(idsOf(await store.listInDoubt(9_000, 9)), [unheard.id], 'a replaced key is not in doubt')
    assert.equal((await store.withdrawAnswers([unheard.id], 9_000, OTHER)).size, 0)
    await store.markDelivered([unheard.id], 6_000)
    assert.deepEqual(await store.listInDoubt(9_000, 9), [])

    const unanswered = newIdempotentRegistration(token, 'k')
    await store.beginRegistrations([unanswered], lease)
    await store.completeRegistrations([newCompletion(unanswered, { isAwaited: () => false })], 2_000)
    const rotation = await answer(store, newRotation(unanswered, { createdAt: 3_000, overlapMs: 9e4 }), 3_000)
    const rotated = await store.getRegistration(unanswered.id)
    assert.deepEqual([rotated?.answeredAt, rotated?.deliveredAt], [3_000, 3_000])
    assert.deepEqual(idsOf(await store.listInDoubt(9_000, 9)), [rotation.id])
  })

  test(`${name}: a key that has ended is in doubt no more, and its delivery can still be recorded`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const [revoked, expired] = [
      await answer(store, newRegistration(token), 2_000),
      await answer(store, { ...newRegistration(token), expiresAt: 4_000 }, 2_000),
    ]
    await store.revokeRegistration(revoked.id, SERVICE, 3_000)
    await store.startEndings([expired.id], 4_000)
    assert.deepEqual(await store.listInDoubt(9_000, 9), [])
    assert.equal((await store.withdrawAnswers(idsOf([revoked, expired]), 9_000, OTHER)).size, 0)
    await store.markDelivered([revoked.id], 5_000)
    const [one, other] = [await store.getRegistration(revoked.id), await store.getRegistration(expired.id)]
    assert.deepEqual([one?.status, one?.deliveredAt], ['ending', 5_000])
    assert.deepEqual([other?.status, other?.deliveredAt], ['ending', null])
    assert.ok(one && other && isUseFinal(one) && isUseFinal(other))
  })
}
