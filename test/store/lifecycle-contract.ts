import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import {
  isDue,
  isInDoubt,
  isReplayable,
  isSwitchDue,
  LONGEST_AHEAD_MS,
  mayHaveKey,
  needsRecovery,
  type Phase,
  phaseOf,
  publicStatusOf,
  transitions,
} from '../../src/registration/lifecycle.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { NewRegistration, Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { assertPlaces } from '../support/invariants.ts'
import { unlimitedPolicy } from '../support/service.ts'
import { newProof, newVirtualToken } from './federation-contract.ts'
import { handOut, newHandOut, newReadyKey } from './pool-keys.ts'
import {
  lease as expiredLease,
  newCompletion,
  newIdempotency,
  newIdempotentRegistration,
  newRegistration,
  newRotation,
  type OpenStore,
  startDueEndings,
} from './store-contract.ts'

/** Later than the end of every lease here: no lease keeps a record from recovery. */
const NOW = 10_000
const ALL = { limit: 1_000 }
const NOT_AWAITED = { isAwaited: () => false }

/** Watches the transitions of all records. */
function watchTransitions(store: Store) {
  const seen = new Set<string>()
  let before = new Map<string, Phase>()
  return {
    seen,
    /** Notes the transitions since the last call, and checks the lists of the store against the predicates. */
    async observe(now = NOW): Promise<void> {
      const all = await store.listRegistrations(ALL)
      for (const one of all) {
        const from = before.get(one.id) ?? null
        const to = phaseOf(one)
        if (from !== to) seen.add(`${from} → ${to}`)
      }
      before = new Map(all.map((one) => [one.id, phaseOf(one)]))
      await assertPredicates(store, all, now)
      await assertPlaces(store)
    },
  }
}

/** Asserts that the store lists the records that the predicates of lifecycle.ts select. */
async function assertPredicates(store: Store, all: readonly Registration[], now: number): Promise<void> {
  const ids = (some: readonly Registration[]) => some.map(({ id }) => id).sort()
  const of = (predicate: (one: Registration) => boolean) => ids(all.filter(predicate))
  const byId = new Map(all.map((one) => [one.id, one]))
  const roots = all.filter(({ rotation }) => rotation === null)
  const currentOf = ({ id, currentId }: Registration) => byId.get(currentId ?? id)
  const keysOf = ({ id }: Registration) => all.filter((one) => one.id === id || one.rotation?.of === id)

  assert.deepEqual(
    ids(await store.listRecoverable(now, 1_000)),
    of((one) => needsRecovery(one, now)),
  )
  assert.deepEqual(
    ids(await store.listDue(now, 1_000)),
    of((one) => isDue(one, now)),
  )
  for (const answeredBy of [2_000, now]) {
    assert.deepEqual(
      ids(await store.listInDoubt(answeredBy, 1_000)),
      of((one) => isInDoubt(one, answeredBy)),
    )
    const inDoubt = await store.listWithKeys({ ...ALL, inDoubtBy: answeredBy }, now)
    assert.deepEqual(
      ids(inDoubt.map(({ registration }) => registration)),
      ids(roots.filter((one) => isInDoubt(currentOf(one) ?? one, answeredBy))),
    )
  }
  const expiringBy = [now, now + 1_000_000]
  const expires = (one: Registration, by: number) =>
    mayHaveKey(one) && (one.endReason ?? 'expired') === 'expired' && one.endsAt !== null && one.endsAt <= by
  assert.deepEqual(await store.countWork({ now, answeredBy: now, expiringBy }), {
    pending: of(({ status }) => status === 'pending').length,
    inDoubt: of((one) => isInDoubt(one, now)).length,
    ending: of((one) => one.status === 'ending' || isDue(one, now)).length,
    failing: of((one) => one.status === 'ending' && one.failure !== null).length,
    expiring: expiringBy.map((by) => of((one) => expires(one, by)).length),
  })
  assert.deepEqual(
    ids(await store.listSwitches(now, 1_000)),
    of((one) => isSwitchDue(one, now)),
  )
  const withKey = await store.listWithKeys({ ...ALL, withKey: true }, now)
  assert.deepEqual(
    ids(withKey.map(({ registration }) => registration)),
    ids(roots.filter((one) => keysOf(one).some(mayHaveKey))),
  )
  for (const { registration, current } of await store.listWithKeys(ALL, now)) {
    assert.deepEqual(current, currentOf(registration))
    const status = publicStatusOf(current, now)
    const listed = await store.listWithKeys({ ...ALL, status, tokenId: registration.tokenId }, now)
    assert.ok(listed.some((one) => one.registration.id === registration.id))
  }
}

/** The part of the contract about the phases, transitions and predicates of lifecycle.ts. */
export function lifecycleContract(name: string, open: OpenStore): void {
  const everyTransition = async (t: TestContext, isFederated: boolean) => {
    const store = await open(t)
    const token = isFederated
      ? await store.putVirtualToken(newVirtualToken(), SERVICE)
      : (await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)).token
    const { seen, observe } = watchTransitions(store)
    const plain = (createdAt?: number): NewRegistration => {
      const one = newRegistration(token.id, createdAt)
      return isFederated ? { ...one, name: one.id, federated: { proof: newProof(), holdsName: true } } : one
    }
    const idempotent = (key: string, createdAt?: number) => ({
      ...plain(createdAt),
      idempotency: newIdempotency(key),
    })
    const begin = async <T extends readonly NewRegistration[]>(...some: T): Promise<T> => {
      const outcomes = await store.beginRegistrations(some, expiredLease)
      assert.ok(outcomes.every(({ outcome }) => outcome === 'begun'))
      await observe()
      return some
    }
    const {
      expiresAt: _e,
      idempotency: _i,
      rotation: _r,
      clientMetadata: _m,
      federated: _f,
      ...unknown
    } = newRegistration(token.id)
    const adopt = () => store.adoptKey({ ...unknown, apiKeyId: 'adopted' }, SERVICE, Date.now())
    // Of two that adopt the same key, one does, and one use is counted.
    assert.deepEqual((await Promise.all([adopt(), adopt()])).sort(), [false, true])
    assert.equal((await store.getToken(token.id))?.uses, 1)
    assert.equal((await store.listAudit({ limit: 1 }))[0]?.action, 'registration.adopted')
    await observe()

    const complete = async (one: NewRegistration, more = {}) => {
      assert.ok((await store.completeRegistrations([newCompletion(one, more)], 2_000)).has(one.id))
      await observe()
    }
    const held = (one: NewRegistration) => [{ id: one.id, owner: expiredLease.owner }]
    const fail = async (one: NewRegistration, sweepAt: number | null, owner = expiredLease.owner) => {
      const failing = { failure: 'internal', sweepAt, now: 3_000 } as const
      assert.equal((await store.failRegistrations([{ id: one.id, owner }], failing)).size, 1)
      await observe()
    }
    const recovery = { owner: 'recovery', until: 4_000 }

    const fromPool = newHandOut(await newReadyKey(store), plain())
    assert.equal((await handOut(store, fromPool, 2_000)).outcome, 'handed_out')
    await observe()

    const [live, failed, revoked, undone, withdrawn] = await begin(
      plain(),
      plain(),
      plain(),
      plain(),
      plain(),
    )
    await complete(live)
    await store.markDelivered([live.id], 2_500)
    await observe()
    await fail(failed, null)
    await store.sweepAgain([failed.id], 5_000)
    await observe()
    await store.finishSweeps([failed.id], 5_000)
    await observe()
    await store.revokeRegistration(revoked.id, SERVICE, 3_000)
    await observe()
    await store.startUndoing(held(undone))
    await observe()
    await fail(undone, 5_000)
    await complete(withdrawn)
    assert.equal((await store.withdrawAnswers([withdrawn.id], 2_000, recovery)).size, 1)
    await observe()
    await fail(withdrawn, 5_000, recovery.owner)

    const [replayed, forgotten] = await begin(idempotent('replayed'), idempotent('forgotten', 500))
    await complete(replayed, NOT_AWAITED)
    await complete(forgotten, NOT_AWAITED)
    assert.ok(await store.markAnswered(replayed.id, SERVICE, 3_000))
    await observe()
    await store.forgetIdempotency(501)
    await observe()
    assert.equal((await store.takeLeases([forgotten.id], 'active', recovery, NOW)).size, 1)
    await observe()
    await fail(forgotten, 5_000, recovery.owner)

    const [first, second] = [
      newRotation(live, { createdAt: 3_000, overlapMs: 9e9 }),
      newRotation(live, { createdAt: 3_100 }),
    ]
    await begin(first)
    await complete(first)
    await begin(second)
    await complete(second)
    await store.markDelivered([second.id], 3_200)
    await observe()
    await store.revokeRegistration(live.id, SERVICE, 3_500)
    await observe()
    await store.finishEndings([live.id, first.id, second.id], 4_000)
    await observe()

    const [overlapping, expiring] = await begin(plain(), { ...plain(), expiresAt: 8_000 })
    await complete(overlapping)
    await complete(expiring)
    await store.markDelivered([overlapping.id], 2_500)
    await observe()
    await begin(newRotation(overlapping, { createdAt: 3_000, overlapMs: 100 }))
    const [rotation] = await store.listRotations(overlapping.id)
    assert.ok(rotation)
    await complete(rotation)
    await startDueEndings(store, NOW, 100)
    await observe()
    // As far ahead as an attempt may be planned.
    for (const { id } of [overlapping, expiring])
      await store.postponeEnding(id, 'internal', NOW + LONGEST_AHEAD_MS)
    await observe()

    const unanswered = [
      idempotent('revoked', 600),
      { ...idempotent('expires', 600), expiresAt: 12_000 },
      idempotent('then revoked', 500),
      { ...idempotent('then expires', 500), expiresAt: 12_000 },
      idempotent('rotated', 600),
    ] as const
    const [goneByOwner, goneByClock, thenRevoked, thenExpired, rotated] = await begin(...unanswered)
    for (const one of unanswered) await complete(one, NOT_AWAITED)
    await store.forgetIdempotency(501)
    await observe()
    await store.revokeRegistration(goneByOwner.id, SERVICE, 3_000)
    await store.revokeRegistration(thenRevoked.id, SERVICE, 3_000)
    await observe()
    await startDueEndings(store, 12_000, 100)
    await observe(12_000)
    assert.deepEqual(
      await Promise.all(
        [goneByClock, thenExpired].map(async ({ id }) => (await store.getRegistration(id))?.status),
      ),
      ['ending', 'ending'],
    )
    const waiting = newRotation(rotated, { createdAt: 3_000, idempotencyKey: 'waiting' })
    await begin(waiting)
    await complete(waiting, NOT_AWAITED)
    const next = newRotation(rotated, { createdAt: 3_100 })
    await begin(next)
    await complete(next)
    await store.forgetIdempotency(9_000)
    const late = idempotent('late')
    await begin(late)
    await complete(late, NOT_AWAITED)
    await store.forgetIdempotency(9_000)
    await observe()
    const byOperator = newRotation(late, { createdAt: 3_000, overlapMs: 9e9 })
    await begin(byOperator)
    await complete(byOperator)

    const [served, answered, retried, dropped, revokedAfter, expiredAfter] = await begin(
      plain(),
      plain(),
      idempotent('retried', 9_000),
      idempotent('dropped', 8_000),
      plain(),
      { ...plain(), expiresAt: 13_000 },
    )
    for (const one of [served, answered, revokedAfter, expiredAfter]) await complete(one)
    await store.markDelivered([served.id], 2_500)
    await observe()
    for (const one of [retried, dropped]) await complete(one, one === dropped ? {} : NOT_AWAITED)
    await store.retractAnswers([dropped.id], 2_000)
    await observe()
    const suspendable = [served, answered, retried, dropped, revokedAfter, expiredAfter]
    for (const { id } of suspendable) await store.setSuspended(id, true, SERVICE, 9_000)
    await observe()
    for (const { id } of suspendable.slice(0, 3)) await store.setSuspended(id, false, SERVICE, 9_100)
    await store.revokeRegistration(revokedAfter.id, SERVICE, 9_200)
    await observe()
    await startDueEndings(store, 13_000, 100)
    await observe(13_000)
    await store.forgetIdempotency(8_001)
    for (const suspended of [false, true]) {
      await store.setSuspended(dropped.id, suspended, SERVICE, 9_300)
      await observe(13_000)
    }
    assert.equal(
      (await store.takeLeases([dropped.id], 'active', { ...recovery, owner: 'again' }, NOW)).size,
      1,
    )
    await observe(13_000)

    assert.deepEqual(
      [...seen].sort(),
      [...new Set(transitions.map(({ from, to }) => `${from} → ${to}`))].sort(),
    )
  }
  for (const [of, isFederated] of [
    ['an ordinary token', false],
    ['an identity', true],
  ] as const)
    test(`${name}: records of ${of} make every transition of lifecycle.ts, and no other`, (t) =>
      everyTransition(t, isFederated))

  test(`${name}: markAnswered answers exactly the records that isReplayable selects`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const all = [
      newRegistration(token.id),
      newIdempotentRegistration(token.id, 'unanswered'),
      newIdempotentRegistration(token.id, 'abandoned', 500),
      { ...newRegistration(token.id), expiresAt: 9_000 },
      newRegistration(token.id),
      newRegistration(token.id),
      newRegistration(token.id),
      newRegistration(token.id),
    ] as const
    await store.beginRegistrations(all, expiredLease)
    const [, unanswered, abandoned, , revoked, suspended, failed] = all
    const active = all.slice(0, 6).map((one) => {
      const isWaiting = one === unanswered || one === abandoned
      return newCompletion(one, isWaiting ? NOT_AWAITED : {})
    })
    await store.completeRegistrations(active, 2_000)
    await store.forgetIdempotency(501)
    await store.revokeRegistration(revoked.id, SERVICE, 3_000)
    await store.setSuspended(suspended.id, true, SERVICE, 3_000)
    const failing = { failure: 'internal', sweepAt: null, now: 3_000 } as const
    await store.failRegistrations([{ id: failed.id, owner: expiredLease.owner }], failing)
    const replayable: boolean[] = []
    for (const { id } of all) {
      const one = await store.getRegistration(id)
      assert.ok(one)
      const answered = await store.markAnswered(id, SERVICE, NOW)
      replayable.push(answered !== undefined)
      assert.equal(answered !== undefined, isReplayable(one, NOW), phaseOf(one))
    }
    assert.deepEqual(replayable, [true, true, false, false, false, false, false, false])
  })
}
