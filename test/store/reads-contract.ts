import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { hashSecret } from '../../src/auth/secret-hash.ts'
import { planRecovery } from '../../src/registration/jobs/recover.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { unlimitedPolicy } from '../support/service.ts'
import {
  lease,
  newCompletion,
  newIdempotentRegistration,
  newRegistration,
  newRotation,
} from './store-contract.ts'

/** An empty store whose database can be made to reject every further write. */
export interface LockableStore {
  readonly store: Store
  forbidWrites(): void
}

const NOW = 50_000
const ALL = { limit: 100 }

/** A call of each reading method of the store; `null` for methods that write. A new method must be added here. */
const reads: Record<keyof Store, ((store: Store, token: string) => Promise<unknown>) | null | 'value'> = {
  id: 'value',
  getToken: (store, token) => store.getToken(token),
  getRegistration: (store) => store.getRegistration('reg_other'),
  listRotations: (store) => store.listRotations('reg_other'),
  findTokenByHash: (store) => store.findTokenByHash(hashSecret('other')),
  findAccessToken: (store) => store.findAccessToken(hashSecret('other')),
  findProof: (store) => store.findProof(hashSecret('other')),
  listAccessTokens: (store) => store.listAccessTokens(),
  findLiveByName: (store, token) => store.findLiveByName(token, 'acme-agent'),
  findByManagementHash: (store) => store.findByManagementHash(hashSecret('other')),
  findByIdempotencyKey: (store, token) => store.findByIdempotencyKey(token, hashSecret('unanswered')),
  whyNotRotatable: (store) => store.whyNotRotatable('reg_other', NOW),
  sumFinalUsage: (store) => store.sumFinalUsage('reg_other', { from: '2026-11-01', to: '2026-11-30' }),
  listTokens: (store) => store.listTokens(),
  listWithKeys: (store) => store.listWithKeys({ ...ALL, withKey: true }, NOW),
  countByStatus: (store) => store.countByStatus(NOW),
  countKeys: (store) => store.countKeys(),
  listRegistrations: (store) => store.listRegistrations(ALL),
  listRecoverable: (store) => store.listRecoverable(NOW, 100),
  listInDoubt: (store) => store.listInDoubt(NOW, 100),
  listAbandonedUses: (store) => store.listAbandonedUses(NOW, 100),
  listDue: (store) => store.listDue(NOW, 100),
  countWork: (store) => store.countWork({ now: NOW, answeredBy: NOW, expiringBy: [NOW] }),
  listAudit: (store) => store.listAudit(ALL),
  listPoolHolders: (store) => store.listPoolHolders(),
  listPoolKeys: (store) => store.listPoolKeys(),
  findRestore: (store) => store.findRestore(),
  listingLagMs: 'value',
  createToken: null,
  putVirtualToken: null,
  createAccessToken: null,
  purgeProofs: null,
  acceptRestore: null,
  adoptKey: null,
  revokeToken: null,
  countRequest: null,
  beginRegistrations: null,
  completeRegistrations: null,
  failRegistrations: null,
  startUndoing: null,
  markAnswered: null,
  markDelivered: null,
  withdrawAnswers: null,
  retractAnswers: null,
  takeLeases: null,
  renewLeases: null,
  releaseLeases: null,
  sweepAgain: null,
  forgetIdempotency: null,
  findHeldUses: null,
  displaceUnanswered: null,
  revokeRegistration: null,
  endKeys: null,
  setSuspended: null,
  listSwitches: (store) => store.listSwitches(NOW, 100),
  finishSwitch: null,
  postponeSwitch: null,
  refundAbandonedUses: null,
  finishSweeps: null,
  startEndings: null,
  finishEndings: null,
  postponeEnding: null,
  saveUsage: null,
  takeLeaderLease: null,
  releaseLeaderLease: null,
  renewPoolHolder: null,
  releasePoolHolder: null,
  beginPoolKeys: null,
  advancePoolKeys: null,
  discardPoolKeys: null,
  takePoolKeys: null,
  givePoolKeysUp: null,
  forgetPoolKeys: null,
  handOutPoolKeys: null,
  appendAudit: null,
  purgeAudit: null,
  ping: null,
  close: null,
}

/** Wraps a store so that calling a method that writes fails the test. */
function readOnly(store: Store): Store {
  return new Proxy(store, {
    get(target, name: keyof Store) {
      if (reads[name] === null) assert.fail(`${name} may write`)
      return target[name]
    },
  })
}

/** Fills a store with records in many phases, and with work for every job. */
export async function fillStore(store: Store): Promise<string> {
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const [pending, undoing, live, due, ending, failed, rotated] = Array.from({ length: 7 }, () =>
    newRegistration(token.id),
  )
  const unanswered = newIdempotentRegistration(token.id, 'unanswered')
  const abandoned = newIdempotentRegistration(token.id, 'abandoned', 500)
  assert.ok(pending && undoing && live && due && ending && failed && rotated)
  const all = [pending, undoing, live, { ...due, expiresAt: 9_000 }, ending, failed, rotated]
  await store.beginRegistrations([...all, unanswered, abandoned], lease)
  const active = [live, { ...due, expiresAt: 9_000 }, ending, rotated].map((one) => newCompletion(one))
  const waiting = [unanswered, abandoned].map((one) => newCompletion(one, { isAwaited: () => false }))
  await store.completeRegistrations([...active, ...waiting], 2_000)
  await store.startUndoing([{ id: undoing.id, owner: lease.owner }])
  const failing = { failure: 'internal', sweepAt: 10_000, now: 2_000 } as const
  await store.failRegistrations([{ id: failed.id, owner: lease.owner }], failing)
  await store.revokeRegistration(ending.id, SERVICE, 3_000)
  const rotation = newRotation(rotated, { createdAt: 3_000, overlapMs: 500 })
  await store.beginRegistrations([rotation], lease)
  await store.completeRegistrations([newCompletion(rotation)], 3_000)
  await store.forgetIdempotency(501)
  return token.id
}

/** The part of the contract about reading methods: they write nothing. */
export function readsContract(name: string, open: (t: TestContext) => Promise<LockableStore>): void {
  test(`${name}: every reading method works while the database rejects writes`, async (t) => {
    const { store, forbidWrites } = await open(t)
    const token = await fillStore(store)
    const before = await store.listRegistrations(ALL)
    forbidWrites()
    await assert.rejects(store.ping(), 'the database rejects writes')
    for (const [method, read] of Object.entries(reads))
      if (typeof read === 'function') await assert.doesNotReject(read(store, token), method)
    assert.ok((await store.listRecoverable(NOW, 100)).length > 2)
    assert.deepEqual(await store.listRegistrations(ALL), before)
  })

  test(`${name}: a dry run of recovery writes nothing, and a second one finds the same work`, async (t) => {
    const { store, forbidWrites } = await open(t)
    await fillStore(store)
    forbidWrites()
    const reader = readOnly(store)
    const ids = (found: readonly Registration[]) => found.map(({ id }) => id)
    const lists = [await reader.listRecoverable(NOW, 100), await reader.listRecoverable(NOW, 100)]
    assert.deepEqual(
      ids(lists[0] ?? []),
      ids(lists[1] ?? []),
      'the first list changes nothing for the second',
    )
    assert.deepEqual(await reader.listDue(NOW, 100), await reader.listDue(NOW, 100))
    const plan = await planRecovery(reader, NOW)
    assert.deepEqual(
      new Set(plan.registrations.map(({ action }) => action)),
      new Set(['undo', 'sweep']),
      'it finds the work of every kind',
    )
  })
}
