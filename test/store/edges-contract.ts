import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { hashSecret } from '../../src/auth/secret.ts'
import { ServiceError } from '../../src/errors.ts'
import { type AuditEntry, SERVICE } from '../../src/store/audit.ts'
import type { NewRegistration, Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { anyUse } from '../support/service.ts'
import {
  completionOf,
  keyed,
  mine,
  type OpenStore,
  registrationOf,
  rotationOf,
  startDueEndings,
} from './store-contract.ts'

/** The audit trail is younger than the epoch. */
const START = Date.UTC(2026, 10, 30)

const outcomesOf = async (store: Store, ...registrations: NewRegistration[]) =>
  (await store.beginRegistrations(registrations, mine)).map(({ outcome }) => outcome)

async function complete(store: Store, one: NewRegistration, isAwaited = () => true) {
  return (await store.completeRegistrations([completionOf(one, { isAwaited })], 2_000)).get(one.id)
}

async function tokenId(store: Store, maxUses: number | null = null): Promise<string> {
  return (await issueBootstrapToken(store, { ...anyUse, maxUses }, SERVICE, 1)).token.id
}

/** A registration that is active and answered. */
async function live(store: Store, one: NewRegistration): Promise<NewRegistration> {
  assert.deepEqual(await outcomesOf(store, one), ['begun'])
  assert.ok(await complete(store, one))
  return one
}

const idsOf = (some: readonly { readonly id: string }[]) => some.map(({ id }) => id)
const newestFirst = (some: readonly { readonly id: string }[]) => idsOf(some).sort().reverse()

/** What every implementation of the store must do: cases in which implementations could differ. */
export function edgesContract(name: string, open: OpenStore): void {
  test(`${name}: a key that no caller could ever receive is not completed`, async (t) => {
    const store = await open(t)
    const token = await tokenId(store, 3)
    const [gone, awaited, retried] = [registrationOf(token), registrationOf(token), keyed(token, 'k')]
    assert.deepEqual(await outcomesOf(store, gone, awaited, retried), ['begun', 'begun', 'begun'])
    assert.equal(await complete(store, gone, () => false), undefined)
    assert.equal((await store.getRegistration(gone.id))?.status, 'pending', 'unchanged')
    assert.deepEqual(await complete(store, awaited), { answered: true, replaced: null })
    assert.deepEqual(await complete(store, retried, () => false), { answered: false, replaced: null })

    const rotation = rotationOf(awaited, { at: 3_000 })
    assert.deepEqual(await outcomesOf(store, rotation), ['begun'])
    assert.equal(await complete(store, rotation, () => false), undefined)
    const held = [gone, rotation].map(({ id }) => ({ id, owner: mine.owner }))
    const failed = await store.failRegistrations(held, { failure: 'internal', sweepAt: null, now: 3_000 })
    assert.equal(failed.size, 2)
    assert.equal((await store.getToken(token))?.uses, 2)
  })

  test(`${name}: a key whose idempotency key is forgotten while it is minted is not completed`, async (t) => {
    const store = await open(t)
    const token = await tokenId(store)
    const one = keyed(token, 'k')
    assert.deepEqual(await outcomesOf(store, one), ['begun'])
    await store.revokeToken(token, SERVICE, 1_500)
    assert.equal(await complete(store, one, () => false), undefined)
    assert.ok(await complete(store, one), 'but one whose caller waits is')
  })

  test(`${name}: revoking a token forgets what is sealed for registrations, and spares rotations`, async (t) => {
    const store = await open(t)
    const token = await tokenId(store)
    const root = await live(store, keyed(token, 'root'))
    const rotation = rotationOf(root, { at: 2_000, key: 'rotation' })
    assert.deepEqual(await outcomesOf(store, rotation), ['begun'])
    assert.ok(await complete(store, rotation, () => false))
    await store.revokeToken(token, SERVICE, 3_000)
    assert.equal(await store.findByIdempotencyKey(token, hashSecret('root')), undefined)
    assert.equal((await store.findByIdempotencyKey(token, hashSecret('rotation')))?.id, rotation.id)
    assert.ok(await store.markAnswered(rotation.id, SERVICE, 3_001), 'its owner can still ask for it')
  })

  test(`${name}: of two in a batch with one idempotency key, the second is what it would be alone`, async (t) => {
    const store = await open(t)
    const [fresh, used] = [await tokenId(store, 5), await tokenId(store, 0)]
    const batch = [keyed(fresh, 'k'), keyed(fresh, 'k'), keyed(used, 'k'), keyed(used, 'k')]
    assert.deepEqual(await outcomesOf(store, ...batch), ['begun', 'duplicate', 'refused', 'refused'])
    const root = await live(store, registrationOf(fresh))
    const rotations = [1, 2].map(() => rotationOf(root, { at: 2_000, key: 'r' }))
    assert.deepEqual(await outcomesOf(store, ...rotations), ['begun', 'duplicate'])
    const late = [1, 2].map(() => rotationOf(root, { at: 2_000, key: 's' }))
    assert.deepEqual(await outcomesOf(store, ...late), ['busy', 'busy'])
    assert.deepEqual(await outcomesOf(store, rotationOf(registrationOf(fresh), { at: 1 })), ['ended'])
    assert.equal((await store.getToken(fresh))?.uses, 2)
  })

  test(`${name}: an answer is withdrawn only where no retry, no rotation and no revocation is`, async (t) => {
    const store = await open(t)
    const token = await tokenId(store)
    const [plain, retried, rotated, revoked, other] = [
      await live(store, registrationOf(token)),
      await live(store, keyed(token, 'k')),
      await live(store, registrationOf(token)),
      await live(store, registrationOf(token)),
      await live(store, registrationOf(token)),
    ]
    const rotation = await live(store, rotationOf(rotated, { at: 2_000, overlapMs: 90_000 }))
    const lone = await live(store, rotationOf(other, { at: 2_000 }))
    await store.revokeRegistration(revoked.id, SERVICE, 2_500)
    const all = [plain, retried, rotated, revoked, rotation, lone]
    const withdrawn = await store.withdrawAnswers(idsOf(all), { owner: 'b.1', until: 9_000 })
    assert.deepEqual([...withdrawn], [plain.id])
    const one = await store.getRegistration(plain.id)
    assert.deepEqual([one?.status, one?.undoing, one?.answeredAt], ['pending', true, null])
    assert.equal((await store.takeLeases([plain.id], 'pending', mine, 8_999)).size, 0, 'under the lease')
  })

  test(`${name}: a lease is renewed whatever it holds, and a sweep that is done cannot be taken`, async (t) => {
    const store = await open(t)
    const token = await tokenId(store)
    const [failed, pending] = [registrationOf(token), registrationOf(token)]
    await outcomesOf(store, failed, pending)
    const failing = { failure: 'internal', sweepAt: 2_000, now: 1_500 } as const
    await store.failRegistrations([{ id: failed.id, owner: mine.owner }], failing)
    const take = async (owner: string, until: number, now: number) =>
      (await store.takeLeases([failed.id], 'failed', { owner, until }, now)).size
    assert.equal(await take('b.1', 3_000, 2_000), 1)
    await store.renewLeases(['b.1'], 9_000)
    assert.equal(await take('c.1', 9_000, 4_000), 0, 'the worker is still at it')
    await store.renewLeases(['b.1'], 5_000)
    assert.equal(await take('c.1', 9_000, 8_999), 0, 'a lease is never shortened')
    await store.finishSweeps([failed.id, pending.id, 'reg_other'], 2_000)
    assert.equal(await take('c.1', 9_000, 9_500), 0, 'nothing is left to do')
    assert.deepEqual(await store.listRecoverable(4_999, 10), [], 'what is pending keeps its lease')
  })

  test(`${name}: an id or a secret is used once for a token, and no reason is given to come back`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, anyUse, SERVICE, START)
    const isFault = (error: unknown) => error instanceof Error && !(error instanceof ServiceError)
    await assert.rejects(store.createToken({ ...token, secretHash: hashSecret('new') }, SERVICE), isFault)
    await assert.rejects(store.createToken({ ...token, id: 'tok_new' }, SERVICE), isFault)
    assert.equal((await store.listTokens()).length, 1)
    assert.equal(await store.getToken('tok_new'), undefined)
    assert.equal(await store.findTokenByHash(hashSecret('new')), undefined)
    assert.equal((await store.listAudit({ limit: 9 })).length, 1)
  })

  test(`${name}: those of the same moment are listed by their ids, in every list`, async (t) => {
    const store = await open(t)
    const tokens = []
    for (let i = 0; i < 5; i++) tokens.push((await issueBootstrapToken(store, anyUse, SERVICE, 7)).token)
    assert.deepEqual(idsOf(await store.listTokens()), newestFirst(tokens))
    const [first] = tokens
    assert.ok(first)
    const roots = Array.from({ length: 5 }, () => registrationOf(first.id, 1_000))
    await outcomesOf(store, ...roots)
    assert.deepEqual(idsOf(await store.listRegistrations({ limit: 9 })), newestFirst(roots))
    assert.deepEqual(idsOf(await store.listRecoverable(9_000, 9)), newestFirst(roots).reverse())
    const listed = await store.listWithKeys({ limit: 9 }, 2_000)
    assert.deepEqual(idsOf(listed.map(({ registration }) => registration)), newestFirst(roots))
    const [root] = roots
    assert.ok(root && (await complete(store, root)))
    const rotations = []
    for (let i = 0; i < 4; i++)
      rotations.push(await live(store, rotationOf(root, { at: 3_000, overlapMs: 9e9 })))
    assert.deepEqual(idsOf(await store.listRotations(root.id)), newestFirst(rotations).reverse())
  })

  test(`${name}: every method returns a registration with the same fields`, async (t) => {
    const store = await open(t)
    const token = await tokenId(store)
    const root = await live(store, keyed(token, 'k'))
    const waiting = rotationOf(root, { at: 2_000, key: 'w' })
    await outcomesOf(store, waiting)
    await complete(store, waiting, () => false)
    const answered = await store.markAnswered(waiting.id, SERVICE, 2_500)
    const pending = rotationOf(root, { at: 2_000 })
    await outcomesOf(store, pending)
    const [listed] = await store.listWithKeys({ limit: 1 }, 3_000)
    const found = {
      get: await store.getRegistration(root.id),
      idempotency: await store.findByIdempotencyKey(token, hashSecret('k')),
      management: await store.findByManagementHash(root.managementHash),
      listed: listed?.registration,
      current: listed?.current,
      replaced: answered?.replaced,
      rotation: (await store.listRotations(root.id))[0],
      recoverable: (await store.listRecoverable(9_000, 9))[0],
      recorded: (await store.listRegistrations({ limit: 1 }))[0],
      revoked: (await store.revokeRegistration(root.id, SERVICE, 4_000))[0],
      due: (await store.listDue(4_000, 9))[0],
    }
    const fields: readonly (keyof Registration)[] = [
      ...(['id', 'tokenId', 'name', 'description', 'plan', 'usagePlanId', 'managementHash'] as const),
      ...(['createdAt', 'expiresAt', 'idempotency', 'rotation', 'status', 'apiKeyId', 'endedAt'] as const),
      ...(['failure', 'answeredAt', 'sweepAt', 'undoing', 'endsAt', 'endReason', 'replacedId'] as const),
      ...(['currentId', 'previousManagementHash'] as const),
    ]
    for (const [method, one] of Object.entries(found))
      assert.deepEqual(Object.keys(one ?? {}).sort(), [...fields].sort(), method)
  })

  test(`${name}: a request in an older window does not reset the count of a newer one`, async (t) => {
    const store = await open(t)
    assert.equal(await store.countRequest('tok_1', 8), 1)
    assert.equal(await store.countRequest('tok_1', 7), 1)
    assert.equal(await store.countRequest('tok_1', 8), 2)
    assert.equal(await store.countRequest('tok_1', 7), 2)
  })

  test(`${name}: audit entries are listed by their time, however late they are recorded`, async (t) => {
    const store = await open(t)
    const entry = (at: number, detail: string): AuditEntry => ({
      ...{ at: START + at, actor: SERVICE, action: 'command.run', detail },
      ...{ tokenId: null, registrationId: null, apiKeyId: null },
    })
    await store.appendAudit([entry(3, 'third'), entry(1, 'first')])
    await store.appendAudit([entry(2, 'second'), entry(3, 'fourth')])
    const all = await store.listAudit({ limit: 9 })
    assert.deepEqual(
      all.map(({ detail }) => detail),
      ['fourth', 'third', 'second', 'first'],
    )
    for (const [i, { id }] of all.entries()) {
      const rest = await store.listAudit({ limit: 9, after: id })
      assert.deepEqual(rest, all.slice(i + 1))
    }
    for (const after of ['', 'x', '12', '0#', "' OR 1"])
      await assert.rejects(store.listAudit({ limit: 9, after }), /is not the id of an audit entry/)
  })

  test(`${name}: a second revocation changes no reason and no time, and returns the same keys in order`, async (t) => {
    const store = await open(t)
    const root = await live(store, registrationOf(await tokenId(store)))
    const first = await live(store, rotationOf(root, { at: 2_000, overlapMs: 90_000 }))
    const second = await live(store, rotationOf(root, { at: 3_000, overlapMs: 90_000 }))
    await startDueEndings(store, 3_000, 10)
    assert.equal((await store.getRegistration(root.id))?.endReason, 'rotated', 'ending already')
    const ending = await store.revokeRegistration(root.id, SERVICE, START + 4_000)
    const seen = (some: readonly Registration[]) =>
      some.map(({ id, status, endReason, endsAt }) => [id, status, endReason, endsAt])
    const expected = [root, first, second].map(({ id }) => [id, 'ending', 'revoked', START + 4_000])
    assert.deepEqual(seen(ending), expected)
    await store.postponeEnding(root.id, 'upstream_unavailable', START + 8_000)
    const again = await store.revokeRegistration(root.id, SERVICE, START + 5_000)
    assert.deepEqual(
      seen(again).map(([, , , endsAt]) => endsAt),
      [START + 8_000, START + 4_000, START + 4_000],
    )
    assert.equal(
      (await store.listAudit({ limit: 99 })).filter((one) => one.action.endsWith('revoked')).length,
      1,
    )
  })

  test(`${name}: a pending rotation of a registration that ended is found by its retry until it is undone`, async (t) => {
    const store = await open(t)
    const token = await tokenId(store)
    const root = await live(store, registrationOf(token))
    const rotation = rotationOf(root, { at: 2_000, key: 'k' })
    await outcomesOf(store, rotation)
    await store.endKeys([root.id], SERVICE, 3_000)
    const found = await store.findByIdempotencyKey(token, hashSecret('k'))
    assert.deepEqual([found?.id, found?.status, found?.undoing], [rotation.id, 'pending', true])
    const held = [{ id: rotation.id, owner: mine.owner }]
    await store.failRegistrations(held, { failure: 'registration_ended', sweepAt: null, now: 3_500 })
    assert.equal(await store.findByIdempotencyKey(token, hashSecret('k')), undefined)
  })

  test(`${name}: looking for what is due starts no ending, and a limit starts the longest due`, async (t) => {
    const store = await open(t)
    const token = await tokenId(store)
    const expiring = async (expiresAt: number) => live(store, { ...registrationOf(token), expiresAt })
    const [late, early] = [await expiring(START + 5_000), await expiring(START + 4_000)]
    const due = async () => (await store.listDue(START + 9_000, 10)).map(({ id, status }) => [id, status])
    assert.deepEqual(await due(), [
      [early.id, 'active'],
      [late.id, 'active'],
    ])
    assert.equal((await store.getRegistration(early.id))?.status, 'active')
    await startDueEndings(store, START + 3_999, 10)
    assert.equal((await store.getRegistration(early.id))?.status, 'active', 'not due yet')
    await startDueEndings(store, START + 9_000, 1)
    assert.equal((await store.getRegistration(early.id))?.status, 'ending')
    await startDueEndings(store, START + 9_000, 10)
    assert.deepEqual(idsOf(await store.listDue(START + 9_000, 10)), [early.id, late.id])
    const expiries = (await store.listAudit({ limit: 99 })).filter((one) => one.action.endsWith('expired'))
    assert.equal(expiries.length, 2, 'each ending starts once')
  })
}
