import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { NewRegistration, Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { unlimitedPolicy } from '../support/service.ts'
import { lease, newCompletion, newRegistration, newRotation, type OpenStore } from './store-contract.ts'

async function complete(store: Store, one: NewRegistration, now: number, answered = true): Promise<boolean> {
  const completion = newCompletion(one, { apiKeyId: `key of ${one.id}`, isAwaited: () => answered })
  return (await store.completeRegistrations([completion], now)).has(one.id)
}

/** Records a registration that is active and answered, of a new token. */
async function newActiveRegistration(
  store: Store,
  expiresAt: number | null = null,
): Promise<NewRegistration> {
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const one = { ...newRegistration(token.id), expiresAt }
  await store.beginRegistrations([one], lease)
  assert.ok(await complete(store, one, 1_000))
  return one
}

/** Entries of the audit trail are listed from the first release on. */
const T = Date.UTC(2026, 10, 24)

const idsOf = (some: readonly Registration[]) => some.map(({ id }) => id)

/** The part of the contract about suspended registrations. */
export function suspensionsContract(name: string, open: OpenStore): void {
  test(`${name}: a suspension marks every active key of a registration, and is recorded once with its actor`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    const other = await newActiveRegistration(store)
    const next = newRotation(root, { createdAt: 2_000, overlapMs: 9e9 })
    await store.beginRegistrations([next], lease)
    assert.ok(await complete(store, next, 2_000))
    const operator = { ...SERVICE, kind: 'operator', id: 'ann' } as const
    assert.deepEqual(idsOf(await store.setSuspended(root.id, true, operator, T + 3_000)), [root.id, next.id])
    assert.deepEqual(idsOf(await store.setSuspended(root.id, true, operator, T + 4_000)), [root.id, next.id])
    for (const { id } of [root, next]) {
      const one = await store.getRegistration(id)
      assert.deepEqual([one?.status, one?.suspendedAt, one?.switchAt], ['active', T + 3_000, T + 3_000])
    }
    assert.equal((await store.getRegistration(other.id))?.suspendedAt, null)
    assert.equal((await store.listWithKeys({ status: 'suspended', limit: 9 }, T + 5_000)).length, 1)
    assert.deepEqual(await store.setSuspended('reg_unknown', true, operator, T + 3_000), [])

    await store.setSuspended(root.id, false, operator, T + 5_000)
    const entries = await store.listAudit({ registrationId: root.id, limit: 2 })
    assert.deepEqual(
      entries.map(({ action, actor, at, apiKeyId }) => [action, actor.id, at, apiKeyId]),
      [
        ['registration.resumed', 'ann', T + 5_000, `key of ${next.id}`],
        ['registration.suspended', 'ann', T + 3_000, `key of ${next.id}`],
      ],
    )
    assert.equal((await store.getRegistration(next.id))?.suspendedAt, null)
  })

  test(`${name}: a suspended registration is neither rotated nor replayed; after it was resumed it is`, async (t) => {
    const store = await open(t)
    const root = await newActiveRegistration(store)
    await store.setSuspended(root.id, true, SERVICE, 2_000)
    const begin = async (createdAt: number) =>
      (await store.beginRegistrations([newRotation(root, { createdAt })], lease))[0]?.outcome
    assert.equal(await begin(3_000), 'suspended')
    assert.equal(await store.markAnswered(root.id, SERVICE, 3_000), undefined)
    await store.setSuspended(root.id, false, SERVICE, 4_000)
    assert.ok(await store.markAnswered(root.id, SERVICE, 5_000))
    assert.equal(await begin(5_000), 'begun')
  })

  test(`${name}: a suspension that races with a rotation: the rotation is not completed or answered, or its key is suspended too`, async (t) => {
    const store = await open(t)
    const [begun, waiting] = [await newActiveRegistration(store), await newActiveRegistration(store)]
    const pending = newRotation(begun, { createdAt: 2_000 })
    const unanswered = newRotation(waiting, { createdAt: 2_000, idempotencyKey: 'waiting' })
    await store.beginRegistrations([pending, unanswered], lease)
    assert.ok(await complete(store, unanswered, 2_000, false))
    for (const { id } of [begun, waiting]) await store.setSuspended(id, true, SERVICE, 3_000)
    assert.equal(await complete(store, pending, 4_000), false)
    assert.equal(await store.markAnswered(unanswered.id, SERVICE, 4_000), undefined)

    for (let i = 0; i < 5; i++) {
      const root = await newActiveRegistration(store)
      const rotation = newRotation(root, { createdAt: 2_000, overlapMs: 9e9 })
      await store.beginRegistrations([rotation], lease)
      const [completed] = await Promise.all([
        complete(store, rotation, 3_000),
        store.setSuspended(root.id, true, SERVICE, 3_000),
      ])
      const current = await store.getRegistration(completed ? rotation.id : root.id)
      assert.equal(current?.suspendedAt, 3_000)
    }
  })

  test(`${name}: keys are to be switched until that is recorded, by due time, and not if the intent changed meanwhile`, async (t) => {
    const store = await open(t)
    const [first, second] = [await newActiveRegistration(store), await newActiveRegistration(store)]
    await store.setSuspended(second.id, true, SERVICE, 2_000)
    await store.setSuspended(first.id, true, SERVICE, 3_000)
    assert.deepEqual(idsOf(await store.listSwitches(1_999, 9)), [])
    assert.deepEqual(idsOf(await store.listSwitches(3_000, 9)), [second.id, first.id])
    assert.deepEqual(idsOf(await store.listSwitches(3_000, 1)), [second.id])
    await store.postponeSwitch(second.id, 5_000)
    assert.deepEqual(idsOf(await store.listSwitches(4_999, 9)), [first.id])
    await store.postponeSwitch(second.id, 9e9)
    assert.deepEqual(idsOf(await store.listSwitches(4_999, 9)), [first.id, second.id], 'a clock was wrong')
    await store.postponeSwitch(second.id, 5_000)

    const seen = await store.getRegistration(first.id)
    assert.ok(seen)
    await store.setSuspended(first.id, false, SERVICE, 4_000)
    assert.equal(await store.finishSwitch(seen), false, 'it was resumed since it was read')
    assert.deepEqual(idsOf(await store.listSwitches(4_000, 9)), [first.id])
    assert.equal(await store.finishSwitch({ id: first.id, suspendedAt: null }), true)
    assert.equal(await store.finishSwitch({ id: second.id, suspendedAt: 2_000 }), true)
    assert.deepEqual(await store.listSwitches(9_000, 9), [])
    await store.postponeSwitch(second.id, 9_000)
    assert.deepEqual(await store.listSwitches(9_000, 9), [], 'there was nothing to postpone')
  })

  test(`${name}: a suspended registration can be revoked, and expires`, async (t) => {
    const store = await open(t)
    const [revoked, expired] = [await newActiveRegistration(store), await newActiveRegistration(store, 5_000)]
    for (const { id } of [revoked, expired]) await store.setSuspended(id, true, SERVICE, 2_000)
    assert.deepEqual(idsOf(await store.revokeRegistration(revoked.id, SERVICE, 3_000)), [revoked.id])
    assert.deepEqual(idsOf(await store.listDue(5_000, 9)).sort(), [revoked.id, expired.id].sort())
    const started = await store.startEndings([expired.id], 5_000)
    assert.deepEqual(idsOf(started), [expired.id])
    await store.setSuspended(revoked.id, false, SERVICE, 6_000)
    assert.equal((await store.getRegistration(revoked.id))?.status, 'ending', 'a revocation is final')
  })
}
