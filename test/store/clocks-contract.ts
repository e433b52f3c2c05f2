import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { LONGEST_AHEAD_MS } from '../../src/registration/lifecycle.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { NewRegistration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { unlimitedPolicy } from '../support/service.ts'
import {
  newCompletion,
  newIdempotentRegistration,
  newRegistration,
  type OpenStore,
} from './store-contract.ts'

const NOW = 1_000_000
/** The time by a clock that is an hour ahead. */
const AHEAD = NOW + 3_600_000
const DEAD = { owner: 'dead', until: AHEAD + 5_000 }

async function newTokenId(store: Store): Promise<string> {
  return (await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)).token.id
}

/** Begins registrations as a process does whose clock is an hour ahead. */
async function beginAhead(store: Store, ...registrations: NewRegistration[]): Promise<void> {
  for (const { outcome } of await store.beginRegistrations(registrations, DEAD))
    assert.equal(outcome, 'begun')
}

const recoverable = async (store: Store, now = NOW) =>
  (await store.listRecoverable(now, 10)).map(({ id }) => id).sort()

/** The part of the contract about times that a wrong clock wrote. */
export function clocksContract(name: string, open: OpenStore): void {
  test(`${name}: a lease that a clock far ahead took counts as expired, and one process takes it over`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const [plain, keyed] = [newRegistration(token, AHEAD), newIdempotentRegistration(token, 'k', AHEAD)]
    await beginAhead(store, plain, keyed)
    assert.deepEqual(await recoverable(store), [plain.id, keyed.id].sort())
    const taken = await Promise.all(
      ['a', 'b', 'c'].map((owner) =>
        store.takeLeases([keyed.id], 'pending', { owner, until: NOW + 5_000 }, NOW),
      ),
    )
    assert.equal(taken.filter(({ size }) => size === 1).length, 1)
    assert.deepEqual(await recoverable(store), [plain.id], 'the new lease is right')
    const failing = { failure: 'abandoned', sweepAt: null, now: NOW } as const
    const late = await store.failRegistrations([{ id: keyed.id, owner: DEAD.owner }], failing)
    assert.equal(late.size, 0, 'the one who lost the lease writes nothing')
  })

  test(`${name}: a lease is kept as long as clocks may differ, ${LONGEST_AHEAD_MS / 1_000} s`, async (t) => {
    const store = await open(t)
    const one = newRegistration(await newTokenId(store))
    await store.beginRegistrations([one], { owner: 'a.1', until: NOW + LONGEST_AHEAD_MS })
    assert.deepEqual(await recoverable(store), [])
    assert.deepEqual(await recoverable(store, NOW - 1), [one.id])
    const other = { owner: 'b.1', until: NOW + 5_000 }
    assert.equal((await store.takeLeases([one.id], 'pending', other, NOW)).size, 0)
  })

  test(`${name}: the holder of a lease that ends too far ahead renews it to the right time`, async (t) => {
    const store = await open(t)
    const one = newRegistration(await newTokenId(store), NOW)
    await beginAhead(store, one)
    await store.renewLeases([DEAD.owner], NOW + 5_000)
    assert.deepEqual(await recoverable(store), [])
    assert.deepEqual(await recoverable(store, NOW + 5_000), [one.id])
    const held = newCompletion(one, { owner: DEAD.owner })
    assert.equal((await store.completeRegistrations([held], NOW)).size, 1)
  })

  test(`${name}: a late-key check that was planned too far ahead is due, and is finished`, async (t) => {
    const store = await open(t)
    const one = newRegistration(await newTokenId(store), AHEAD)
    await beginAhead(store, one)
    const failing = { failure: 'internal', sweepAt: AHEAD + 60_000, now: AHEAD } as const
    await store.failRegistrations([{ id: one.id, owner: DEAD.owner }], failing)
    assert.deepEqual(await recoverable(store), [one.id])
    const lease = { owner: 'b.1', until: NOW + 5_000 }
    assert.equal((await store.takeLeases([one.id], 'failed', lease, NOW)).size, 1)
    await store.sweepAgain([one.id], NOW + 60_000)
    await store.finishSweeps([one.id], NOW)
    assert.deepEqual(await recoverable(store, NOW + 60_000), [one.id], 'a check was planned meanwhile')
    await store.sweepAgain([one.id], AHEAD)
    await store.finishSweeps([one.id], NOW)
    assert.deepEqual(await recoverable(store, AHEAD), [])
  })

  test(`${name}: a key that a clock far ahead revoked is due at once`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const [revoked, expiring] = [
      newRegistration(token, NOW),
      { ...newRegistration(token, NOW), expiresAt: AHEAD },
    ]
    for (const one of [revoked, expiring]) {
      await beginAhead(store, one)
      await store.completeRegistrations([newCompletion(one, { owner: DEAD.owner })], NOW)
    }
    await store.endKeys([revoked.id], SERVICE, AHEAD)
    const due = await store.listDue(NOW, 10)
    assert.deepEqual(
      due.map(({ id }) => id),
      [revoked.id],
      'an expiry may lie far ahead',
    )
  })

  test(`${name}: a leader lease that a clock far ahead took counts as expired`, async (t) => {
    const store = await open(t)
    const take = (owner: string, now: number) =>
      store.takeLeaderLease('d', { owner, until: now + 10_000 }, now)
    assert.equal(await take('a', AHEAD), true)
    assert.equal(await take('b', NOW), true)
    assert.equal(await take('c', NOW - 60_000), false, 'clocks may differ by a minute')
  })
}
