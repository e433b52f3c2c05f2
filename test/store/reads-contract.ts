import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { hashSecret } from '../../src/auth/secret.ts'
import { planRecovery } from '../../src/registration/jobs/recover.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { anyUse } from '../support/service.ts'
import { completionOf, keyed, mine, registrationOf, rotationOf } from './store-contract.ts'

/** An empty store, and a way to make every later write to its database fail. */
export interface LockableStore {
  readonly store: Store
  forbidWrites(): void
}

const NOW = 50_000
const ALL = { limit: 100 }

/** Every method of the store: a call that reads, or `null` for those that write. A new method has to be placed here. */
const reads: Record<keyof Store, ((store: Store, token: string) => Promise<unknown>) | null | 'value'> = {
  getToken: (store, token) => store.getToken(token),
  getRegistration: (store) => store.getRegistration('reg_other'),
  listRotations: (store) => store.listRotations('reg_other'),
  findTokenByHash: (store) => store.findTokenByHash(hashSecret('other')),
  findByManagementHash: (store) => store.findByManagementHash(hashSecret('other')),
  findByIdempotencyKey: (store, token) => store.findByIdempotencyKey(token, hashSecret('unanswered')),
  listTokens: (store) => store.listTokens(),
  listWithKeys: (store) => store.listWithKeys({ ...ALL, withKey: true }, NOW),
  countByStatus: (store) => store.countByStatus(NOW),
  countKeys: (store) => store.countKeys(),
  listRegistrations: (store) => store.listRegistrations(ALL),
  listRecoverable: (store) => store.listRecoverable(NOW, 100),
  listAbandonedUses: (store) => store.listAbandonedUses(NOW, 100),
  listDue: (store) => store.listDue(NOW, 100),
  listAudit: (store) => store.listAudit(ALL),
  listingLagMs: 'value',
  createToken: null,
  revokeToken: null,
  countRequest: null,
  beginRegistrations: null,
  completeRegistrations: null,
  failRegistrations: null,
  startUndoing: null,
  markAnswered: null,
  withdrawAnswers: null,
  takeLeases: null,
  renewLeases: null,
  releaseLeases: null,
  sweepAgain: null,
  forgetIdempotency: null,
  revokeRegistration: null,
  endKeys: null,
  refundAbandonedUses: null,
  finishSweeps: null,
  startEndings: null,
  finishEndings: null,
  postponeEnding: null,
  takeLeaderLease: null,
  releaseLeaderLease: null,
  appendAudit: null,
  purgeAudit: null,
  ping: null,
  close: null,
}

/** A store on which any method that may write fails the test. */
export function withoutWrites(store: Store): Store {
  return new Proxy(store, {
    get(target, name: keyof Store) {
      if (reads[name] === null) assert.fail(`${name} may write`)
      return target[name]
    },
  })
}

/** Fills a store with records in every phase, and with work for every job. */
export async function fill(store: Store): Promise<string> {
  const { token } = await issueBootstrapToken(store, anyUse, SERVICE, 1)
  const [pending, undoing, live, due, ending, failed, rotated] = Array.from({ length: 7 }, () =>
    registrationOf(token.id),
  )
  const unanswered = keyed(token.id, 'unanswered')
  const abandoned = keyed(token.id, 'abandoned', 500)
  assert.ok(pending && undoing && live && due && ending && failed && rotated)
  const all = [pending, undoing, live, { ...due, expiresAt: 9_000 }, ending, failed, rotated]
  await store.beginRegistrations([...all, unanswered, abandoned], mine)
  const active = [live, { ...due, expiresAt: 9_000 }, ending, rotated].map((one) => completionOf(one))
  const waiting = [unanswered, abandoned].map((one) => completionOf(one, { isAwaited: () => false }))
  await store.completeRegistrations([...active, ...waiting], 2_000)
  await store.startUndoing([{ id: undoing.id, owner: mine.owner }])
  const failing = { failure: 'internal', sweepAt: 10_000, now: 2_000 } as const
  await store.failRegistrations([{ id: failed.id, owner: mine.owner }], failing)
  await store.revokeRegistration(ending.id, SERVICE, 3_000)
  const rotation = rotationOf(rotated, { at: 3_000, overlapMs: 500 })
  await store.beginRegistrations([rotation], mine)
  await store.completeRegistrations([completionOf(rotation)], 3_000)
  await store.forgetIdempotency(501)
  return token.id
}

/** What every implementation of the store must do: a method that reads writes nothing. */
export function readsContract(name: string, open: (t: TestContext) => Promise<LockableStore>): void {
  test(`${name}: with its database locked against writes, every reading method works`, async (t) => {
    const { store, forbidWrites } = await open(t)
    const token = await fill(store)
    const before = await store.listRegistrations(ALL)
    forbidWrites()
    await assert.rejects(store.ping(), 'the lock works')
    for (const [method, read] of Object.entries(reads))
      if (typeof read === 'function') await assert.doesNotReject(read(store, token), method)
    assert.ok((await store.listRecoverable(NOW, 100)).length > 2)
    assert.deepEqual(await store.listRegistrations(ALL), before)
  })

  test(`${name}: a dry run of recovery writes nothing, and finds the same again`, async (t) => {
    const { store, forbidWrites } = await open(t)
    await fill(store)
    forbidWrites()
    const readOnly = withoutWrites(store)
    const ids = (found: readonly Registration[]) => found.map(({ id }) => id)
    const looks = [await readOnly.listRecoverable(NOW, 100), await readOnly.listRecoverable(NOW, 100)]
    assert.deepEqual(ids(looks[0] ?? []), ids(looks[1] ?? []), 'a look changes nothing for the next one')
    assert.deepEqual(await readOnly.listDue(NOW, 100), await readOnly.listDue(NOW, 100))
    const plan = await planRecovery(readOnly, NOW)
    assert.deepEqual(
      new Set(plan.registrations.map(({ action }) => action)),
      new Set(['undo', 'sweep']),
      'it finds what there is to do',
    )
  })
}
