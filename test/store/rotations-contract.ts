import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { hashSecret } from '../../src/auth/secret-hash.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { BeginOutcome } from '../../src/store/minting.ts'
import type { NewRegistration, Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { unlimitedPolicy } from '../support/service.ts'
import {
  finishDueEndings,
  lease,
  type NewRotationOptions,
  newCompletion,
  newIdempotentRegistration,
  newRegistration,
  newRotation,
  type OpenStore,
  startDueEndings,
} from './store-contract.ts'

async function begin(
  store: Store,
  registration: NewRegistration,
): Promise<BeginOutcome['outcome'] | undefined> {
  return (await store.beginRegistrations([registration], lease))[0]?.outcome
}

async function complete(
  store: Store,
  registration: NewRegistration,
  now: number,
  answered = true,
): Promise<boolean> {
  const { id } = registration
  const completion = newCompletion(registration, { apiKeyId: `key of ${id}`, isAwaited: () => answered })
  return (await store.completeRegistrations([completion], now)).has(id)
}

/** Records a registration that is active and answered, of a new token. */
async function newActiveRegistration(
  store: Store,
  { now = 1_000, expiresAt = null as number | null, maxUses = null as number | null } = {},
): Promise<NewRegistration> {
  const { token } = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses }, SERVICE, 1)
  const registration = { ...newRegistration(token.id, now), expiresAt }
  assert.equal(await begin(store, registration), 'begun')
  assert.equal(await complete(store, registration, now), true)
  return registration
}

/** Records a rotation that is active and answered. */
async function rotate(
  store: Store,
  registration: NewRegistration,
  options: NewRotationOptions,
): Promise<NewRegistration> {
  const rotation = newRotation(registration, options)
  assert.equal(await begin(store, rotation), 'begun')
  assert.equal(await complete(store, rotation, options.createdAt), true)
  return rotation
}

/** Returns status, reason and time of the end of each key. */
const ends = async (store: Store, ...ids: string[]) =>
  Promise.all(
    ids.map(async (id) => {
      const one = await store.getRegistration(id)
      return [one?.status, one?.endReason, one?.endsAt]
    }),
  )

const idsOf = (registrations: readonly Registration[]) => registrations.map(({ id }) => id)

/** The part of the contract about rotations, the ends of keys, leader leases and the operator's list. */
export function rotationsContract(name: string, open: OpenStore): void {
  test(`${name}: when a rotation is answered, its key becomes the present one, and the replaced key ends after the overlap`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store, { maxUses: 1, expiresAt: 100_000 })
    const first = await rotate(store, root, { createdAt: 2_000, overlapMs: 5_000, expiresAt: 200_000 })
    assert.equal((await store.getToken(root.tokenId))?.uses, 1, 'a rotation spends no use')
    assert.deepEqual(await ends(store, root.id, first.id), [
      ['active', 'rotated', 7_000],
      ['active', null, 200_000],
    ])
    const [own, made] = [await store.getRegistration(root.id), await store.getRegistration(first.id)]
    assert.equal(own?.currentId, first.id)
    assert.equal(made?.replacedId, root.id)
    assert.deepEqual(made?.rotation, { of: root.id, overlapMs: 5_000, renewsManagement: false })

    const second = await rotate(store, root, { createdAt: 3_000, overlapMs: 900_000 })
    assert.deepEqual(
      await ends(store, root.id, first.id, second.id),
      [
        ['active', 'rotated', 3_000],
        ['active', 'rotated', 200_000],
        ['active', null, null],
      ],
      'the oldest key is due, and no overlap is longer than the lifetime of its key',
    )
    assert.equal((await store.getRegistration(root.id))?.currentId, second.id)
    assert.deepEqual(idsOf(await store.listRotations(root.id)), [first.id, second.id])
  })

  test(`${name}: a rotation leaves its registration unchanged until it is answered`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    const rotation = newRotation(root, { createdAt: 2_000, overlapMs: 500, idempotencyKey: 'k' })
    assert.equal(await begin(store, rotation), 'begun')
    assert.equal(await complete(store, rotation, 2_100, false), true)
    assert.deepEqual(await ends(store, root.id), [['active', null, null]])
    assert.equal((await store.getRegistration(root.id))?.currentId, null)
    assert.equal((await store.findByIdempotencyKey(root.tokenId, hashSecret('k')))?.id, rotation.id)

    const replaced = async (now: number) => (await store.markAnswered(rotation.id, SERVICE, now))?.replaced
    assert.deepEqual([(await replaced(3_000))?.id, (await replaced(3_001))?.endsAt], [root.id, 3_500])
    assert.deepEqual(await ends(store, root.id), [['active', 'rotated', 3_500]])
    assert.ok(await replaced(9_000))
    assert.deepEqual(
      await ends(store, root.id),
      [['active', 'rotated', 3_500]],
      'a replay does not move the end',
    )
  })

  test(`${name}: a pending rotation excludes others; an unanswered one is replaced by the next`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    const [first, second] = [
      newRotation(root, { createdAt: 2_000, idempotencyKey: 'k' }),
      newRotation(root, { createdAt: 2_001 }),
    ]
    assert.equal(await begin(store, first), 'begun')
    assert.equal(await begin(store, second), 'busy')
    assert.equal(
      await begin(store, newRotation(root, { createdAt: 2_002, idempotencyKey: 'k' })),
      'duplicate',
    )
    assert.equal(await complete(store, first, 3_000, false), true)
    assert.equal(await begin(store, second), 'begun')
    assert.equal(
      await store.findByIdempotencyKey(root.tokenId, hashSecret('k')),
      undefined,
      'its idempotency key is forgotten',
    )
    assert.deepEqual(idsOf(await store.listRecoverable(3_001, 10)), [first.id], 'and recovery undoes it')
    assert.equal(await store.markAnswered(first.id, SERVICE, 3_001), undefined, 'no caller receives its key')

    const held = [{ id: second.id, owner: lease.owner }]
    await store.failRegistrations(held, { failure: 'internal', sweepAt: null, now: 3_002 })
    assert.equal(
      (await store.getToken(root.tokenId))?.uses,
      1,
      'a rotation spent no use, so none is refunded',
    )
    assert.equal(await begin(store, newRotation(root, { createdAt: 3_003 })), 'deleting', 'the first one')
    const recovery = { owner: 'b.1', until: 9_000 }
    assert.equal((await store.takeLeases([first.id], 'active', recovery, 3_004)).size, 1)
    assert.equal(await begin(store, newRotation(root, { createdAt: 3_005 })), 'deleting')
    const undone = [{ id: first.id, owner: recovery.owner }]
    await store.failRegistrations(undone, { failure: 'abandoned', sweepAt: null, now: 3_006 })
    assert.equal(await begin(store, newRotation(root, { createdAt: 3_007 })), 'begun')
  })

  test(`${name}: a registration is rotated only if its earlier keys are deleted or overlap`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    const next = (createdAt: number) => begin(store, newRotation(root, { createdAt, overlapMs: 500 }))
    const first = await rotate(store, root, { createdAt: 2_000, overlapMs: 500 })
    assert.equal(await next(2_500), 'deleting', 'its overlap is over')
    await rotate(store, root, { createdAt: 2_499, overlapMs: 9_000 })
    assert.equal(await next(2_499), 'deleting', 'the rotation made the overlapping key due')
    await startDueEndings(store, 3_000, 9)
    assert.equal(await next(3_001), 'deleting')
    await store.postponeEnding(root.id, 'upstream_unavailable', 8_000)
    assert.equal(await next(3_002), 'deleting', 'the deletion failed')
    await store.finishEndings([root.id], 3_003)
    assert.deepEqual(await ends(store, first.id), [['active', 'rotated', 11_499]])
    assert.equal(await next(3_004), 'begun')
  })

  test(`${name}: the usage of a key is stored while it is ending, and stays after its deletion`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    await rotate(store, root, { createdAt: 2_000 })
    const usageOf = async () => (await store.getRegistration(root.id))?.finalUsage
    await store.saveUsage(root.id, { '2026-11-01': 1 })
    assert.equal(await usageOf(), null, 'the key can still be used')
    await startDueEndings(store, 3_000, 9)
    await store.saveUsage(root.id, { '2026-11-01': 1, '2026-11-02': 2 })
    await store.saveUsage(root.id, { '2026-11-02': 3 })
    assert.deepEqual(await usageOf(), { '2026-11-02': 3 })
    await store.finishEndings([root.id], 3_003)
    await store.saveUsage(root.id, { '2026-11-02': 4 })
    assert.deepEqual(await usageOf(), { '2026-11-02': 3 })

    const [second] = await store.listRotations(root.id)
    await rotate(store, root, { createdAt: 4_000 })
    await startDueEndings(store, 5_000, 9)
    await store.saveUsage(second?.id ?? '', { '2026-11-01': 1, '2026-11-02': 2, '2026-11-03': 5 })
    const total = (from: string, to: string) => store.sumFinalUsage(root.id, { from, to })
    assert.deepEqual(await total('2026-11-01', '2026-11-02'), { '2026-11-01': 1, '2026-11-02': 5 })
    assert.deepEqual(await total('2026-11-03', '2026-11-03'), { '2026-11-03': 5 })
    assert.deepEqual(await total('2026-12-01', '2026-12-31'), {})
    assert.deepEqual(await store.sumFinalUsage('reg_unknown', { from: '2026-11-01', to: '2026-11-30' }), {})
  })

  test(`${name}: of rotations that race while an earlier key is deleted, one begins at most`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    await rotate(store, root, { createdAt: 2_000 })
    const [due] = await startDueEndings(store, 3_000, 9)
    assert.equal(due?.id, root.id)
    const outcomes = await Promise.all([
      ...Array.from({ length: 3 }, () => begin(store, newRotation(root, { createdAt: 3_000 }))),
      store.finishEndings([root.id], 3_000),
      ...Array.from({ length: 3 }, () => begin(store, newRotation(root, { createdAt: 3_000 }))),
    ])
    assert.ok(outcomes.filter((outcome) => outcome === 'begun').length <= 1, String(outcomes))
  })

  test(`${name}: of rotations that race to begin, one begins`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    const outcomes = await Promise.all(
      Array.from({ length: 6 }, () => begin(store, newRotation(root, { createdAt: 2_000 }))),
    )
    assert.deepEqual(outcomes.sort(), ['begun', ...Array(5).fill('busy')])
  })

  test(`${name}: a renewed management token finds the registration, and its predecessor is kept in the record`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    const notRenewing = await rotate(store, root, { createdAt: 2_000 })
    assert.equal(await store.findByManagementHash(notRenewing.managementHash), undefined)
    await finishDueEndings(store, 2_500)
    const renewing = await rotate(store, root, { createdAt: 3_000, renewsManagement: true })
    assert.equal((await store.findByManagementHash(renewing.managementHash))?.id, root.id)
    assert.equal(await store.findByManagementHash(root.managementHash), undefined)
    const found = await store.getRegistration(root.id)
    assert.deepEqual(
      [found?.managementHash, found?.previousManagementHash].map((hash) => Buffer.from(hash ?? [])),
      [renewing.managementHash, root.managementHash].map((hash) => Buffer.from(hash)),
    )
    await finishDueEndings(store, 3_500)
    const again = await rotate(store, root, { createdAt: 4_000, renewsManagement: true })
    assert.equal((await store.findByManagementHash(again.managementHash))?.id, root.id)
  })

  test(`${name}: a revocation ends all keys of a registration, and a pending rotation of it can only be undone`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    const first = await rotate(store, root, { createdAt: 2_000, overlapMs: 90_000 })
    const second = newRotation(root, { createdAt: 3_000 })
    assert.equal(await begin(store, second), 'begun')
    const ending = await store.revokeRegistration(root.id, SERVICE, 4_000)
    assert.deepEqual(idsOf(ending).sort(), [root.id, first.id].sort())
    assert.equal(await complete(store, second, 4_001), false, 'the registration is revoked')
    assert.equal(await begin(store, newRotation(root, { createdAt: 4_002 })), 'ended')
    assert.deepEqual(
      idsOf(await store.revokeRegistration(root.id, SERVICE, 5_000)).length,
      2,
      'the keys that are not deleted yet',
    )
    await store.finishEndings([root.id, first.id], 6_000)
    for (const [status, reason] of await ends(store, root.id, first.id))
      assert.deepEqual([status, reason], ['ended', 'revoked'])
    assert.deepEqual(await store.revokeRegistration(root.id, SERVICE, 7_000), [])
    assert.deepEqual(await store.revokeRegistration('reg_other', SERVICE, 7_000), [])
  })

  test(`${name}: a key that is due ends once, the longest due first, up to the limit; a postponed deletion is due again`, async (t) => {
    const store = await open(t)
    const late = await newActiveRegistration(store, { expiresAt: 3_000 })
    const early = await newActiveRegistration(store, { expiresAt: 2_000 })
    await newActiveRegistration(store, { expiresAt: 9_000 })
    await newActiveRegistration(store)
    assert.deepEqual(await startDueEndings(store, 1_999, 10), [])
    assert.deepEqual(idsOf(await startDueEndings(store, 5_000, 1)), [early.id])
    assert.deepEqual(idsOf(await startDueEndings(store, 5_000, 10)), [early.id, late.id])
    assert.equal(await store.markAnswered(early.id, SERVICE, 5_000), undefined, 'no caller receives it')
    assert.equal(await begin(store, newRotation(early, { createdAt: 5_000 })), 'ended')

    await store.postponeEnding(early.id, 'upstream_unavailable', 8_000)
    assert.deepEqual(idsOf(await startDueEndings(store, 5_000, 10)), [late.id])
    assert.equal((await store.getRegistration(early.id))?.failure, 'upstream_unavailable')
    assert.deepEqual(idsOf(await startDueEndings(store, 8_000, 10)), [late.id, early.id])
    await store.finishEndings([early.id, late.id], 8_500)
    assert.deepEqual(await startDueEndings(store, 8_999, 10), [])
    const ended = await store.getRegistration(early.id)
    assert.deepEqual(
      [ended?.status, ended?.endReason, ended?.endedAt, ended?.failure],
      ['ended', 'expired', 8_500, null],
    )
  })

  test(`${name}: an expired registration is neither completed nor answered, even before its ending starts`, async (t) => {
    const store = await open(t)
    const one = await newActiveRegistration(store, { expiresAt: 5_000 })
    assert.ok(await store.markAnswered(one.id, SERVICE, 4_999))
    assert.equal(await store.markAnswered(one.id, SERVICE, 5_000), undefined)
    const pending = { ...newRegistration(one.tokenId, 4_000), expiresAt: 5_000 }
    assert.equal(await begin(store, pending), 'begun')
    assert.equal(await complete(store, pending, 5_000), false)

    const root = await newActiveRegistration(store)
    await rotate(store, root, { createdAt: 2_000, overlapMs: 90_000 })
    assert.equal(await store.markAnswered(root.id, SERVICE, 2_001), undefined, 'nor is a replaced one')
  })

  test(`${name}: a registration that is revoked while it is pending is not completed, and can fail`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const one = newRegistration(token.id)
    await begin(store, one)
    const listed = await store.listWithKeys({ tokenId: token.id, withKey: true, limit: 9 }, 1_000)
    assert.deepEqual(
      listed.map(({ registration }) => registration.id),
      [one.id],
    )
    assert.deepEqual(await store.revokeRegistration(one.id, SERVICE, 1_001), [])
    assert.equal(await complete(store, one, 1_002), false)
    const held = [{ id: one.id, owner: lease.owner }]
    assert.equal(
      (await store.failRegistrations(held, { failure: 'internal', sweepAt: null, now: 1_003 })).size,
      1,
    )
    assert.equal((await store.getToken(token.id))?.uses, 0)
  })

  test(`${name}: a rotation of an unanswered registration records it as answered: its use stays spent`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses: 1 }, SERVICE, 1)
    const root = newIdempotentRegistration(token.id, 'k')
    await begin(store, root)
    await complete(store, root, 1_000, false)
    await rotate(store, root, { createdAt: 2_000 })
    await store.forgetIdempotency(9_000)
    assert.deepEqual(await store.listRecoverable(9_000, 10), [])
    assert.equal((await store.getToken(token.id))?.uses, 1)
  })

  test(`${name}: an unanswered rotation is undone when its registration ends`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store, { expiresAt: 5_000 })
    const rotation = newRotation(root, { createdAt: 2_000, idempotencyKey: 'k' })
    await begin(store, rotation)
    await complete(store, rotation, 2_001, false)
    assert.deepEqual(await store.listRecoverable(4_999, 10), [])
    await startDueEndings(store, 5_000, 10)
    assert.equal(await store.markAnswered(rotation.id, SERVICE, 5_001), undefined)
    assert.deepEqual(idsOf(await store.listRecoverable(5_001, 10)), [rotation.id])
  })

  test(`${name}: an expiry stops a pending rotation; a rotation that was completed before it keeps its key`, async (t) => {
    const store = await open(t)
    const [stopped, saved] = [
      await newActiveRegistration(store, { expiresAt: 5_000 }),
      await newActiveRegistration(store, { expiresAt: 5_000 }),
    ]
    const [late, inTime] = [
      newRotation(stopped, { createdAt: 4_999 }),
      newRotation(saved, { createdAt: 4_000 }),
    ]
    assert.equal(await begin(store, late), 'begun')
    assert.equal(await begin(store, inTime), 'begun')
    assert.equal(await complete(store, inTime, 4_500), true)
    assert.equal((await startDueEndings(store, 6_000, 10)).length, 2)
    assert.equal(await complete(store, late, 6_001), false)
    assert.deepEqual(await ends(store, inTime.id), [['active', null, null]])
  })

  test(`${name}: endKeys ends single keys as revoked, and not the other keys of their registration`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    const rotation = await rotate(store, root, { createdAt: 2_000, overlapMs: 90_000 })
    assert.deepEqual(idsOf(await store.endKeys([root.id, 'reg_other'], SERVICE, 3_000)), [root.id])
    assert.deepEqual(await store.endKeys([root.id], SERVICE, 3_000), [])
    await store.finishEndings([root.id], 3_400)
    const late = newRotation(root, { createdAt: 3_500 })
    assert.equal(await begin(store, late), 'begun')
    await store.endKeys([rotation.id], SERVICE, 4_000)
    assert.equal(await complete(store, late, 4_001), false, 'there is no active key to replace')
    assert.deepEqual(await ends(store, root.id, rotation.id), [
      ['ended', 'revoked', 3_000],
      ['ending', 'revoked', 4_000],
    ])
  })

  test(`${name}: a leader lease has one holder until it expires or is released`, async (t) => {
    const store = await open(t)
    const take = (owner: string, now: number, name = 'd') =>
      store.takeLeaderLease(name, { owner, until: now + 100 }, now)
    const taken = await Promise.all(['a', 'b', 'c'].map((owner) => take(owner, 1_000)))
    assert.equal(taken.filter(Boolean).length, 1)
    const winner = ['a', 'b', 'c'][taken.indexOf(true)] ?? ''
    assert.equal(await take(winner, 1_050), true, 'renewed')
    assert.equal(await take('d', 1_149), false)
    assert.equal(await take('d', 1_149, 'other'), true)
    assert.equal(await take('d', 1_150), true)
    assert.equal(await take(winner, 1_200), false)
    await store.releaseLeaderLease('d', winner)
    assert.equal(await take(winner, 1_200), false, 'another owner does not release it')
    await store.releaseLeaderLease('d', 'd')
    assert.equal(await take(winner, 1_200), true)
  })

  test(`${name}: requests are counted by token and window, also at once`, async (t) => {
    const store = await open(t)
    const counts = await Promise.all(Array.from({ length: 5 }, () => store.countRequest('tok_1', 7)))
    assert.deepEqual(counts.sort(), [1, 2, 3, 4, 5])
    assert.equal(await store.countRequest('tok_2', 7), 1)
    assert.equal(await store.countRequest('tok_1', 8), 1)
    assert.equal(await store.countRequest('tok_1', 8), 2)
  })

  test(`${name}: the operator's list is filtered by status, token, plan and expiry, and read in pages`, async (t) => {
    const store = await open(t)
    const all: NewRegistration[] = []
    for (const expiresAt of [null, 3_000, 50_000])
      all.push(await newActiveRegistration(store, { now: 1_000, expiresAt }))
    const [unlimited, short, long] = all
    assert.ok(unlimited && short && long)
    const rotation = await rotate(store, long, {
      ...{ createdAt: 2_000, overlapMs: 10, expiresAt: 60_000, plan: 'gold' },
    })
    const revoked = await newActiveRegistration(store, { now: 1_500 })
    await store.revokeRegistration(revoked.id, SERVICE, 2_500)

    const list = async (filter: object, now = 4_000) =>
      (await store.listWithKeys({ limit: 10, ...filter }, now)).map(({ registration }) => registration.id)
    const newest = [revoked.id, ...[unlimited.id, short.id, long.id].sort().reverse()]
    assert.deepEqual(await list({}), newest)
    assert.deepEqual(await list({ status: 'expired' }), [short.id], 'expired, though not deleted yet')
    assert.deepEqual(await list({ status: 'revoked' }), [revoked.id])
    assert.deepEqual((await list({ status: 'active' })).sort(), [unlimited.id, long.id].sort())
    assert.deepEqual(await list({ expiringBy: 59_999 }), [])
    assert.deepEqual(await list({ expiringBy: 60_000 }), [long.id], 'by the present key')
    assert.deepEqual(await list({ tokenId: short.tokenId }), [short.id])
    assert.deepEqual(await list({ plan: 'gold' }), [long.id], 'by the plan of the present key')
    assert.deepEqual(await list({ plan: 'silver' }), [])

    const pages: string[] = []
    let after: Registration | undefined
    for (let n = 0; n < 4; n++) {
      const page = await store.listWithKeys({ limit: 1, after }, 4_000)
      after = page[0]?.registration
      pages.push(after?.id ?? '')
    }
    assert.deepEqual(pages, newest)
    const [listed] = await store.listWithKeys({ tokenId: long.tokenId, limit: 1 }, 4_000)
    assert.equal(listed?.current.id, rotation.id)

    assert.equal(await store.countKeys(), 5)
    await store.finishEndings([revoked.id], 4_000)
    assert.equal(await store.countKeys(), 4)
    assert.deepEqual((await list({ withKey: true })).sort(), [unlimited.id, short.id, long.id].sort())
    assert.deepEqual(await store.countByStatus(4_000), [
      { plan: 'free', status: 'active', count: 1 },
      { plan: 'free', status: 'expired', count: 1 },
      { plan: 'free', status: 'revoked', count: 1 },
      { plan: 'gold', status: 'active', count: 1 },
    ])
  })
}
