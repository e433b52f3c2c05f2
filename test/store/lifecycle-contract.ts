import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import {
  isDue,
  isReplayable,
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
import { anyUse } from '../support/service.ts'
import {
  completionOf,
  keyed,
  mine as lapsed,
  type OpenStore,
  registrationOf,
  rotationOf,
  startDueEndings,
} from './store-contract.ts'

/** Later than every lease here: whatever is open needs recovery. */
const NOW = 10_000
const ALL = { limit: 1_000 }
const UNAWAITED = { isAwaited: () => false }

/** Watches the phases of all records from step to step. */
function watch(store: Store) {
  const seen = new Set<string>()
  let before = new Map<string, Phase>()
  return {
    seen,
    /** Notes how the phases changed since the last look, and holds the store against the predicates. */
    async look(now = NOW): Promise<void> {
      const all = await store.listRegistrations(ALL)
      for (const one of all) {
        const from = before.get(one.id) ?? null
        const to = phaseOf(one)
        if (from !== to) seen.add(`${from} → ${to}`)
      }
      before = new Map(all.map((one) => [one.id, phaseOf(one)]))
      await assertPredicates(store, all, now)
    },
  }
}

/** What the store lists is what the predicates of lifecycle.ts say of its records. */
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

/** What every implementation of the store must do: the phases and transitions of lifecycle.ts, all of them and no others. */
export function lifecycleContract(name: string, open: OpenStore): void {
  test(`${name}: records go through the transitions of the lifecycle, all of them and no others`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, anyUse, SERVICE, 1)
    const { seen, look } = watch(store)
    const begin = async <T extends readonly NewRegistration[]>(...some: T): Promise<T> => {
      const outcomes = await store.beginRegistrations(some, lapsed)
      assert.ok(outcomes.every(({ outcome }) => outcome === 'begun'))
      await look()
      return some
    }
    const complete = async (one: NewRegistration, more = {}) => {
      assert.ok((await store.completeRegistrations([completionOf(one, more)], 2_000)).has(one.id))
      await look()
    }
    const plain = (createdAt?: number) => registrationOf(token.id, createdAt)
    const held = (one: NewRegistration) => [{ id: one.id, owner: lapsed.owner }]
    const fail = async (one: NewRegistration, sweepAt: number | null, owner = lapsed.owner) => {
      const failing = { failure: 'internal', sweepAt, now: 3_000 } as const
      assert.equal((await store.failRegistrations([{ id: one.id, owner }], failing)).size, 1)
      await look()
    }
    const recovery = { owner: 'recovery', until: 4_000 }

    const [live, refused, revoked, undone, lost] = await begin(plain(), plain(), plain(), plain(), plain())
    await complete(live)
    await fail(refused, null)
    await store.sweepAgain([refused.id], 5_000)
    await look()
    await store.finishSweeps([refused.id], 5_000)
    await look()
    await store.revokeRegistration(revoked.id, SERVICE, 3_000)
    await look()
    await store.startUndoing(held(undone))
    await look()
    await fail(undone, 5_000)
    await complete(lost)
    assert.equal((await store.withdrawAnswers([lost.id], recovery)).size, 1)
    await look()
    await fail(lost, 5_000, recovery.owner)

    const [replayed, forgotten] = await begin(keyed(token.id, 'replayed'), keyed(token.id, 'forgotten', 500))
    await complete(replayed, UNAWAITED)
    await complete(forgotten, UNAWAITED)
    assert.ok(await store.markAnswered(replayed.id, SERVICE, 3_000))
    await look()
    await store.forgetIdempotency(501)
    await look()
    assert.equal((await store.takeLeases([forgotten.id], 'active', recovery, NOW)).size, 1)
    await look()
    await fail(forgotten, 5_000, recovery.owner)

    const [first, second] = [rotationOf(live, { at: 3_000, overlapMs: 9e9 }), rotationOf(live, { at: 3_100 })]
    await begin(first)
    await complete(first)
    await begin(second)
    await complete(second)
    await store.revokeRegistration(live.id, SERVICE, 3_500)
    await look()
    await store.finishEndings([live.id, first.id, second.id], 4_000)
    await look()

    const [overlapping, expiring] = await begin(plain(), { ...plain(), expiresAt: 8_000 })
    await complete(overlapping)
    await complete(expiring)
    await begin(rotationOf(overlapping, { at: 3_000, overlapMs: 100 }))
    const [rotation] = await store.listRotations(overlapping.id)
    assert.ok(rotation)
    await complete(rotation)
    await startDueEndings(store, NOW, 100)
    await look()

    const unanswered = [
      keyed(token.id, 'revoked', 600),
      { ...keyed(token.id, 'expires', 600), expiresAt: 12_000 },
      keyed(token.id, 'then revoked', 500),
      { ...keyed(token.id, 'then expires', 500), expiresAt: 12_000 },
      keyed(token.id, 'rotated', 600),
    ] as const
    const [goneByOwner, goneByClock, thenRevoked, thenExpired, rotated] = await begin(...unanswered)
    for (const one of unanswered) await complete(one, UNAWAITED)
    await store.forgetIdempotency(501)
    await look()
    await store.revokeRegistration(goneByOwner.id, SERVICE, 3_000)
    await store.revokeRegistration(thenRevoked.id, SERVICE, 3_000)
    await look()
    await startDueEndings(store, 12_000, 100)
    await look(12_000)
    assert.deepEqual(
      await Promise.all(
        [goneByClock, thenExpired].map(async ({ id }) => (await store.getRegistration(id))?.status),
      ),
      ['ending', 'ending'],
    )
    const waiting = rotationOf(rotated, { at: 3_000, key: 'waiting' })
    await begin(waiting)
    await complete(waiting, UNAWAITED)
    const next = rotationOf(rotated, { at: 3_100 })
    await begin(next)
    await complete(next)
    await store.forgetIdempotency(9_000)
    const late = keyed(token.id, 'late')
    await begin(late)
    await complete(late, UNAWAITED)
    await store.forgetIdempotency(9_000)
    await look()
    const byOperator = rotationOf(late, { at: 3_000, overlapMs: 9e9 })
    await begin(byOperator)
    await complete(byOperator)

    assert.deepEqual(
      [...seen].sort(),
      [...new Set(transitions.map(({ from, to }) => `${from} → ${to}`))].sort(),
    )
  })

  test(`${name}: exactly the records that are replayable can be answered`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, anyUse, SERVICE, 1)
    const all = [
      registrationOf(token.id),
      keyed(token.id, 'unanswered'),
      keyed(token.id, 'abandoned', 500),
      { ...registrationOf(token.id), expiresAt: 9_000 },
      registrationOf(token.id),
      registrationOf(token.id),
      registrationOf(token.id),
    ] as const
    await store.beginRegistrations(all, lapsed)
    const [, unanswered, abandoned, , revoked, failed] = all
    const active = all.slice(0, 5).map((one) => {
      const isWaiting = one === unanswered || one === abandoned
      return completionOf(one, isWaiting ? UNAWAITED : {})
    })
    await store.completeRegistrations(active, 2_000)
    await store.forgetIdempotency(501)
    await store.revokeRegistration(revoked.id, SERVICE, 3_000)
    const failing = { failure: 'internal', sweepAt: null, now: 3_000 } as const
    await store.failRegistrations([{ id: failed.id, owner: lapsed.owner }], failing)
    const replayable: boolean[] = []
    for (const { id } of all) {
      const one = await store.getRegistration(id)
      assert.ok(one)
      const answered = await store.markAnswered(id, SERVICE, NOW)
      replayable.push(answered !== undefined)
      assert.equal(answered !== undefined, isReplayable(one, NOW), phaseOf(one))
    }
    assert.deepEqual(replayable, [true, true, false, false, false, false, false])
  })
}
