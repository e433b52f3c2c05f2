import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { hashSecret } from '../../src/auth/secret-hash.ts'
import { ServiceError } from '../../src/errors.ts'
import { type Actor, type AuditEntry, SERVICE } from '../../src/store/audit.ts'
import type { NewRegistration, Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { unlimitedPolicy } from '../support/service.ts'
import {
  finishDueEndings,
  lease,
  newCompletion,
  newIdempotentRegistration,
  newRegistration,
  newRotation,
  type OpenStore,
  startDueEndings,
} from './store-contract.ts'

/** Audit entries need a time after the first release that had an audit trail; the epoch is too early. */
const START = Date.UTC(2026, 10, 30)

/** Begins registrations or rotations, and returns their outcomes. */
const begin = async (store: Store, ...registrations: NewRegistration[]) =>
  (await store.beginRegistrations(registrations, lease)).map(({ outcome }) => outcome)

async function complete(store: Store, one: NewRegistration, isAwaited = () => true) {
  return (await store.completeRegistrations([newCompletion(one, { isAwaited })], 2_000)).get(one.id)
}

/** Creates a bootstrap token and returns its id. */
async function newTokenId(store: Store, maxUses: number | null = null): Promise<string> {
  return (await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses }, SERVICE, 1)).token.id
}

/** Records a registration or rotation that is active and answered. */
async function activate(store: Store, one: NewRegistration): Promise<NewRegistration> {
  assert.deepEqual(await begin(store, one), ['begun'])
  assert.ok(await complete(store, one))
  return one
}

const idsOf = (some: readonly { readonly id: string }[]) => some.map(({ id }) => id)
const newestFirst = (some: readonly { readonly id: string }[]) => idsOf(some).sort().reverse()

/** The part of the contract about cases in which implementations could differ. */
export function edgesContract(name: string, open: OpenStore): void {
  test(`${name}: a registration whose key no caller could receive is not completed`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store, 3)
    const [abandoned, awaited, retryable] = [
      newRegistration(token),
      newRegistration(token),
      newIdempotentRegistration(token, 'k'),
    ]
    assert.deepEqual(await begin(store, abandoned, awaited, retryable), ['begun', 'begun', 'begun'])
    assert.equal(await complete(store, abandoned, () => false), undefined)
    assert.equal((await store.getRegistration(abandoned.id))?.status, 'pending', 'unchanged')
    assert.deepEqual(await complete(store, awaited), { answered: true, replaced: null })
    assert.deepEqual(await complete(store, retryable, () => false), { answered: false, replaced: null })

    const rotation = newRotation(awaited, { createdAt: 3_000 })
    assert.deepEqual(await begin(store, rotation), ['begun'])
    assert.equal(await complete(store, rotation, () => false), undefined)
    const held = [abandoned, rotation].map(({ id }) => ({ id, owner: lease.owner }))
    const failed = await store.failRegistrations(held, { failure: 'internal', sweepAt: null, now: 3_000 })
    assert.equal(failed.size, 2)
    assert.equal((await store.getToken(token))?.uses, 2)
  })

  test(`${name}: a registration whose idempotency key is forgotten meanwhile is completed only if a caller waits`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const one = newIdempotentRegistration(token, 'k')
    assert.deepEqual(await begin(store, one), ['begun'])
    await store.revokeToken(token, SERVICE, 1_500)
    assert.equal(await complete(store, one, () => false), undefined)
    assert.ok(await complete(store, one))
  })

  test(`${name}: revoking a token forgets the idempotency keys of its registrations, but not of rotations`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const root = await activate(store, newIdempotentRegistration(token, 'root'))
    const rotation = newRotation(root, { createdAt: 2_000, idempotencyKey: 'rotation' })
    assert.deepEqual(await begin(store, rotation), ['begun'])
    assert.ok(await complete(store, rotation, () => false))
    await store.revokeToken(token, SERVICE, 3_000)
    assert.equal(await store.findByIdempotencyKey(token, hashSecret('root')), undefined)
    assert.equal((await store.findByIdempotencyKey(token, hashSecret('rotation')))?.id, rotation.id)
    assert.ok(await store.markAnswered(rotation.id, SERVICE, 3_001), 'its owner still receives the key')
  })

  test(`${name}: of two registrations with one idempotency key in a batch, the second has the outcome that it would have alone`, async (t) => {
    const store = await open(t)
    const [fresh, used] = [await newTokenId(store, 5), await newTokenId(store, 0)]
    const batch = [
      newIdempotentRegistration(fresh, 'k'),
      newIdempotentRegistration(fresh, 'k'),
      newIdempotentRegistration(used, 'k'),
      newIdempotentRegistration(used, 'k'),
    ]
    assert.deepEqual(await begin(store, ...batch), ['begun', 'duplicate', 'refused', 'refused'])
    const root = await activate(store, newRegistration(fresh))
    const rotations = [1, 2].map(() => newRotation(root, { createdAt: 2_000, idempotencyKey: 'r' }))
    assert.deepEqual(await begin(store, ...rotations), ['begun', 'duplicate'])
    const late = [1, 2].map(() => newRotation(root, { createdAt: 2_000, idempotencyKey: 's' }))
    assert.deepEqual(await begin(store, ...late), ['busy', 'busy'])
    assert.deepEqual(await begin(store, newRotation(newRegistration(fresh), { createdAt: 1 })), ['ended'])
    assert.equal((await store.getToken(fresh))?.uses, 2)
  })

  test(`${name}: an answer is withdrawn only if the registration has no idempotency key and was neither rotated nor revoked`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const [plain, retried, rotated, revoked, other] = [
      await activate(store, newRegistration(token)),
      await activate(store, newIdempotentRegistration(token, 'k')),
      await activate(store, newRegistration(token)),
      await activate(store, newRegistration(token)),
      await activate(store, newRegistration(token)),
    ]
    const rotation = await activate(store, newRotation(rotated, { createdAt: 2_000, overlapMs: 90_000 }))
    const lone = await activate(store, newRotation(other, { createdAt: 2_000 }))
    await store.revokeRegistration(revoked.id, SERVICE, 2_500)
    const all = [plain, retried, rotated, revoked, rotation, lone]
    const withdrawn = await store.withdrawAnswers(idsOf(all), 2_000, { owner: 'b.1', until: 9_000 })
    assert.deepEqual([...withdrawn], [plain.id])
    const one = await store.getRegistration(plain.id)
    assert.deepEqual([one?.status, one?.undoing, one?.answeredAt], ['pending', true, null])
    assert.equal(
      (await store.takeLeases([plain.id], 'pending', lease, 8_999)).size,
      0,
      'it is held under the lease',
    )
  })

  test(`${name}: renewing extends the lease of a late-key check; a finished check cannot be taken`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const [failed, pending] = [newRegistration(token), newRegistration(token)]
    await begin(store, failed, pending)
    const failing = { failure: 'internal', sweepAt: 2_000, now: 1_500 } as const
    await store.failRegistrations([{ id: failed.id, owner: lease.owner }], failing)
    const take = async (owner: string, until: number, now: number) =>
      (await store.takeLeases([failed.id], 'failed', { owner, until }, now)).size
    assert.equal(await take('b.1', 3_000, 2_000), 1)
    await store.renewLeases(['b.1'], 9_000)
    assert.equal(await take('c.1', 9_000, 4_000), 0, 'its holder renewed it')
    await store.renewLeases(['b.1'], 5_000)
    assert.equal(await take('c.1', 9_000, 8_999), 0, 'a renewal never shortens it')
    await store.finishSweeps([failed.id, pending.id, 'reg_other'], 2_000)
    assert.equal(await take('c.1', 9_000, 9_500), 0, 'the check is finished')
    assert.deepEqual(await store.listRecoverable(4_999, 10), [], 'a pending registration keeps its lease')
  })

  test(`${name}: createToken rejects the id and the secret of another token, with an error that is not retryable`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, START)
    const isFault = (error: unknown) => error instanceof Error && !(error instanceof ServiceError)
    await assert.rejects(store.createToken({ ...token, secretHash: hashSecret('new') }, SERVICE), isFault)
    await assert.rejects(store.createToken({ ...token, id: 'tok_new' }, SERVICE), isFault)
    assert.equal((await store.listTokens()).length, 1)
    assert.equal(await store.getToken('tok_new'), undefined)
    assert.equal(await store.findTokenByHash(hashSecret('new')), undefined)
    assert.equal((await store.listAudit({ limit: 9 })).length, 1)
  })

  test(`${name}: every list orders records of the same millisecond by id`, async (t) => {
    const store = await open(t)
    const tokens = []
    for (let i = 0; i < 5; i++)
      tokens.push((await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 7)).token)
    assert.deepEqual(idsOf(await store.listTokens()), newestFirst(tokens))
    const [first] = tokens
    assert.ok(first)
    const roots = Array.from({ length: 5 }, () => newRegistration(first.id, 1_000))
    await begin(store, ...roots)
    assert.deepEqual(idsOf(await store.listRegistrations({ limit: 9 })), newestFirst(roots))
    assert.deepEqual(idsOf(await store.listRecoverable(9_000, 9)), newestFirst(roots).reverse())
    const listed = await store.listWithKeys({ limit: 9 }, 2_000)
    assert.deepEqual(idsOf(listed.map(({ registration }) => registration)), newestFirst(roots))
    const [root] = roots
    assert.ok(root && (await complete(store, root)))
    const rotations = []
    for (let i = 0; i < 4; i++) {
      rotations.push(await activate(store, newRotation(root, { createdAt: 3_000, overlapMs: 9e9 })))
      await finishDueEndings(store, 3_000)
    }
    assert.deepEqual(idsOf(await store.listRotations(root.id)), newestFirst(rotations).reverse())
  })

  test(`${name}: every method returns a registration with the same fields`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const clientMetadata = '{"client_name":"a"}'
    const root = await activate(store, { ...newIdempotentRegistration(token, 'k'), clientMetadata })
    const waiting = newRotation(root, { createdAt: 2_000, idempotencyKey: 'w' })
    await begin(store, waiting)
    await complete(store, waiting, () => false)
    const answered = await store.markAnswered(waiting.id, SERVICE, 2_500)
    const pending = newRotation(root, { createdAt: 2_000 })
    await begin(store, pending)
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
      ...([
        'currentId',
        'previousManagementHash',
        'deliveredAt',
        'suspendedAt',
        'switchAt',
        'finalUsage',
        'clientMetadata',
        'federated',
        'holdsPlace',
      ] as const),
    ]
    assert.equal(found.get?.clientMetadata, clientMetadata)
    assert.equal(found.rotation?.clientMetadata, null)
    for (const [method, one] of Object.entries(found))
      assert.deepEqual(Object.keys(one ?? {}).sort(), [...fields].sort(), method)
  })

  test(`${name}: counting in an older window does not reset the count of a newer one`, async (t) => {
    const store = await open(t)
    assert.equal(await store.countRequest('tok_1', 8), 1)
    assert.equal(await store.countRequest('tok_1', 7), 1)
    assert.equal(await store.countRequest('tok_1', 8), 2)
    assert.equal(await store.countRequest('tok_1', 7), 2)
  })

  test(`${name}: audit entries are listed by time, even if they are recorded late`, async (t) => {
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

  test(`${name}: a second revocation changes neither reasons nor times, and returns the same keys in order`, async (t) => {
    const store = await open(t)
    const root = await activate(store, newRegistration(await newTokenId(store)))
    const first = await activate(store, newRotation(root, { createdAt: 2_000, overlapMs: 90_000 }))
    const second = await activate(store, newRotation(root, { createdAt: 3_000, overlapMs: 90_000 }))
    await startDueEndings(store, 3_000, 10)
    assert.equal((await store.getRegistration(root.id))?.endReason, 'rotated', 'it is ending already')
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

  test(`${name}: a retry finds the pending rotation of an ended registration until it is undone`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const root = await activate(store, newRegistration(token))
    const rotation = newRotation(root, { createdAt: 2_000, idempotencyKey: 'k' })
    await begin(store, rotation)
    await store.endKeys([root.id], SERVICE, 3_000)
    const found = await store.findByIdempotencyKey(token, hashSecret('k'))
    assert.deepEqual([found?.id, found?.status, found?.undoing], [rotation.id, 'pending', true])
    const held = [{ id: rotation.id, owner: lease.owner }]
    await store.failRegistrations(held, { failure: 'registration_ended', sweepAt: null, now: 3_500 })
    assert.equal(await store.findByIdempotencyKey(token, hashSecret('k')), undefined)
  })

  test(`${name}: listing keys that are due starts no ending; with a limit, the longest due endings start`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const expiring = async (expiresAt: number) => activate(store, { ...newRegistration(token), expiresAt })
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

  test(`${name}: a duplicate is reported even if its token is used up or expired, or its registration has ended`, async (t) => {
    const store = await open(t)
    const policy = { ...unlimitedPolicy, maxUses: 2, expiresAt: 1_500 }
    const { token } = await issueBootstrapToken(store, policy, SERVICE, 1)
    const root = newRegistration(token.id)
    const retried = (createdAt: number) => newIdempotentRegistration(token.id, 'k', createdAt)
    assert.deepEqual(await begin(store, root, retried(1_000)), ['begun', 'begun'])
    assert.deepEqual(await begin(store, retried(1_100), newRegistration(token.id, 1_100)), [
      'duplicate',
      'refused',
    ])
    assert.deepEqual(await begin(store, retried(1_500)), ['duplicate'])
    assert.ok(await complete(store, root))
    const rotation = (createdAt: number) => newRotation(root, { createdAt, idempotencyKey: 'r' })
    assert.deepEqual(await begin(store, rotation(2_000)), ['begun'])
    await store.revokeRegistration(root.id, SERVICE, 3_000)
    assert.deepEqual(await begin(store, rotation(4_000)), ['duplicate'])
    assert.deepEqual(await begin(store, newRotation(root, { createdAt: 4_000 })), ['ended'])
  })

  test(`${name}: a refused registration gets the present record of its token, or null if there is none`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    await store.revokeToken(token, SERVICE, 500)
    const outcomes = await store.beginRegistrations(
      [newRegistration(token), newRegistration('tok_other')],
      lease,
    )
    const tokens = outcomes.map((one) => one.outcome === 'refused' && one.token)
    assert.deepEqual(tokens, [await store.getToken(token), null])
  })

  test(`${name}: a rotation begins even if the token of its registration is used up, expired and revoked`, async (t) => {
    const store = await open(t)
    const policy = { ...unlimitedPolicy, maxUses: 1, expiresAt: 1_500 }
    const { token } = await issueBootstrapToken(store, policy, SERVICE, 1)
    const root = await activate(store, newRegistration(token.id))
    await store.revokeToken(token.id, SERVICE, 1_900)
    await activate(store, newRotation(root, { createdAt: 2_000 }))
    assert.equal((await store.getToken(token.id))?.uses, 1)
  })

  test(`${name}: a rotation begins before the present key expires, and completes until the ending of that key starts`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const [awaited, unanswered, ended] = [
      await activate(store, { ...newRegistration(token), expiresAt: 2_500 }),
      await activate(store, { ...newRegistration(token), expiresAt: 2_500 }),
      await activate(store, { ...newRegistration(token), expiresAt: 2_500 }),
    ]
    const late = newRotation(awaited, { createdAt: 2_500 })
    assert.deepEqual(await begin(store, late), ['ended'], 'the key has expired, though it is still active')
    const rotations = [
      newRotation(awaited, { createdAt: 2_499, overlapMs: 9_000 }),
      newRotation(unanswered, { createdAt: 2_499, overlapMs: 9_000, idempotencyKey: 'k' }),
      newRotation(ended, { createdAt: 2_499, overlapMs: 9_000 }),
    ] as const
    assert.deepEqual(await begin(store, ...rotations), ['begun', 'begun', 'begun'])
    await store.endKeys([ended.id], SERVICE, 2_999)
    const completions = rotations.map((one) => newCompletion(one, { isAwaited: () => one !== rotations[1] }))
    const completed = await store.completeRegistrations(completions, 3_000)
    assert.deepEqual([...completed.keys()].sort(), idsOf(rotations.slice(0, 2)).sort())
    const replaced = completed.get(rotations[0].id)?.replaced
    assert.deepEqual([replaced?.id, replaced?.endReason, replaced?.endsAt], [awaited.id, 'rotated', 2_500])
    const answered = await store.markAnswered(rotations[1].id, SERVICE, 3_100)
    assert.deepEqual([answered?.replaced?.id, answered?.replaced?.endsAt], [unanswered.id, 2_500])
  })

  test(`${name}: the holder of an expired lease keeps it until another one takes it, but not after releasing it`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const [late, released, renewed] = [newRegistration(token), newRegistration(token), newRegistration(token)]
    await begin(store, late, released)
    await store.beginRegistrations([renewed], { owner: 'b.1', until: 5_000 })
    await store.releaseLeases([{ id: released.id, owner: lease.owner }])
    await store.renewLeases(['b.1'], 90_000)
    assert.deepEqual(
      idsOf(await store.listRecoverable(80_000, 9)),
      idsOf([late, released]).sort(),
      'renewed late',
    )
    const completions = [late, released].map((one) => newCompletion(one))
    const completed = await store.completeRegistrations(completions, 80_000)
    assert.deepEqual([...completed.keys()], [late.id])
  })

  test(`${name}: a key that is undone keeps its id and its end in the record`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const expiring = { ...newRegistration(token), expiresAt: 60_000 }
    const forgotten = { ...newIdempotentRegistration(token, 'k', 500), expiresAt: 60_000 }
    assert.deepEqual(await begin(store, expiring, forgotten), ['begun', 'begun'])
    const seen = async ({ id }: NewRegistration) => {
      const one = await store.getRegistration(id)
      return [one?.status, one?.undoing, one?.apiKeyId, one?.endsAt]
    }
    assert.deepEqual(await seen(expiring), ['pending', false, null, 60_000])
    await complete(store, expiring)
    await complete(store, forgotten, () => false)
    await store.forgetIdempotency(501)
    const other = { owner: 'b.1', until: 9_000 }
    assert.equal((await store.withdrawAnswers([expiring.id], 2_000, other)).size, 1)
    assert.equal((await store.takeLeases([forgotten.id], 'active', other, 3_000)).size, 1)
    for (const one of [expiring, forgotten])
      assert.deepEqual(await seen(one), ['pending', true, 'k', 60_000], 'the key can be found and deleted')
  })

  test(`${name}: a replay moves the time of the answer until one is delivered`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const root = newIdempotentRegistration(token, 'k')
    await begin(store, root)
    await complete(store, root, () => false)
    for (const now of [3_000, 4_000])
      assert.deepEqual(await store.markAnswered(root.id, SERVICE, now), { replaced: null })
    assert.equal((await store.getRegistration(root.id))?.answeredAt, 4_000)
    await store.markDelivered([root.id], 4_100)
    assert.ok(await store.markAnswered(root.id, SERVICE, 5_000))
    const one = await store.getRegistration(root.id)
    assert.deepEqual([one?.answeredAt, one?.deliveredAt], [4_000, 4_100])
    assert.equal(await store.markAnswered('reg_other', SERVICE, 5_000), undefined)
  })

  test(`${name}: the previous management token is kept until a rotation renews the token again`, async (t) => {
    const store = await open(t)
    const root = await activate(store, newRegistration(await newTokenId(store)))
    const renewing = await activate(store, newRotation(root, { createdAt: 2_000, renewsManagement: true }))
    await finishDueEndings(store, 2_500)
    await activate(store, newRotation(root, { createdAt: 3_000 }))
    const one = await store.getRegistration(root.id)
    assert.deepEqual(
      [one?.managementHash, one?.previousManagementHash].map((hash) => Buffer.from(hash ?? [])),
      [renewing.managementHash, root.managementHash].map((hash) => Buffer.from(hash)),
    )
  })

  test(`${name}: an ended registration is found by its hashes, a failed one only by that of its management token`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const ended = await activate(store, newIdempotentRegistration(token, 'ended'))
    await store.revokeRegistration(ended.id, SERVICE, 3_000)
    await store.finishEndings([ended.id], 4_000)
    const failed = newIdempotentRegistration(token, 'failed')
    await begin(store, failed)
    const failing = { failure: 'internal', sweepAt: null, now: 3_000 } as const
    await store.failRegistrations([{ id: failed.id, owner: lease.owner }], failing)
    assert.equal((await store.findByIdempotencyKey(token, hashSecret('ended')))?.status, 'ended')
    assert.equal(await store.findByIdempotencyKey(token, hashSecret('failed')), undefined)
    assert.equal(
      (await store.getRegistration(failed.id))?.idempotency,
      null,
      'its sealed secrets are forgotten',
    )
    for (const one of [ended, failed])
      assert.equal((await store.findByManagementHash(one.managementHash))?.id, one.id)
    assert.equal((await store.getToken(token))?.uses, 1, 'only a failure refunds the use')
  })

  test(`${name}: expired keys are due before revoked ones, and those before replaced ones, then by time, then by id`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const expiring = (expiresAt: number) => activate(store, { ...newRegistration(token), expiresAt })
    const simultaneous = []
    for (let i = 0; i < 4; i++) simultaneous.push(await expiring(5_000))
    const replaced = await activate(store, newRegistration(token))
    await activate(store, newRotation(replaced, { createdAt: 2_000, overlapMs: 2_500 }))
    const revoked = await activate(store, newRegistration(token))
    await store.revokeRegistration(revoked.id, SERVICE, 3_000)
    await startDueEndings(store, 9_000, 10)
    const expected = [...newestFirst(simultaneous).reverse(), revoked.id, replaced.id]
    assert.deepEqual(idsOf(await store.listDue(9_000, 10)), expected)
    assert.deepEqual(idsOf(await store.listDue(9_000, 3)), expected.slice(0, 3))
    assert.deepEqual(idsOf(await store.listDue(4_999, 10)), [revoked.id, replaced.id])
    assert.deepEqual(idsOf(await store.listDue(9_000, 1, 0)), [revoked.id], 'nothing ends by the clock')
  })

  test(`${name}: ending the present key forgets an unanswered rotation, which recovery then undoes`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const root = await activate(store, newRegistration(token))
    const rotation = newRotation(root, { createdAt: 2_000, idempotencyKey: 'k' })
    await begin(store, rotation)
    await complete(store, rotation, () => false)
    await store.endKeys([root.id], SERVICE, 3_000)
    assert.equal(await store.findByIdempotencyKey(token, hashSecret('k')), undefined)
    assert.equal(await store.markAnswered(rotation.id, SERVICE, 3_001), undefined)
    assert.deepEqual(idsOf(await store.listRecoverable(3_001, 9)), [rotation.id])
  })

  test(`${name}: a rotation that is being undone still excludes others, until it has failed`, async (t) => {
    const store = await open(t)
    const root = await activate(store, newRegistration(await newTokenId(store)))
    const first = newRotation(root, { createdAt: 2_000 })
    await begin(store, first)
    const held = [{ id: first.id, owner: lease.owner }]
    await store.startUndoing(held)
    const next = newRotation(root, { createdAt: 2_500 })
    assert.deepEqual(await begin(store, next), ['deleting'])
    await store.failRegistrations(held, { failure: 'internal', sweepAt: null, now: 3_000 })
    assert.deepEqual(await begin(store, next), ['begun'])
  })

  test(`${name}: purging spares the entries of a registration that is being undone, or whose key a rotation replaced`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, START + 200)
    const one = newRegistration(token.id, START)
    await begin(store, one)
    await store.completeRegistrations([newCompletion(one)], START + 1)
    await store.withdrawAnswers([one.id], START + 1, lease)
    assert.equal(await store.purgeAudit(START + 100, 9), 0)
    const held = [{ id: one.id, owner: lease.owner }]
    await store.failRegistrations(held, { failure: 'internal', sweepAt: null, now: START + 2 })
    assert.equal(await store.purgeAudit(START + 100, 9), 2)

    const root = newRegistration(token.id, START + 10)
    const rotation = newRotation(root, { createdAt: START + 20 })
    for (const each of [root, rotation]) {
      await begin(store, each)
      await store.completeRegistrations([newCompletion(each)], each.createdAt)
    }
    await startDueEndings(store, START + 30, 9)
    await store.finishEndings([root.id], START + 40)
    assert.equal(await store.purgeAudit(START + 100, 9), 0)
  })

  test(`${name}: a finished late-key check releases its lease, even if a later check is due`, async (t) => {
    const store = await open(t)
    const failed = newRegistration(await newTokenId(store))
    await begin(store, failed)
    const failing = { failure: 'internal', sweepAt: 2_000, now: 1_500 } as const
    await store.failRegistrations([{ id: failed.id, owner: lease.owner }], failing)
    const take = async (owner: string, now: number) =>
      (await store.takeLeases([failed.id], 'failed', { owner, until: 90_000 }, now)).size
    assert.equal(await take('b.1', 2_000), 1)
    await store.sweepAgain([failed.id], 6_000)
    assert.equal(await take('c.1', 7_000), 0)
    await store.finishSweeps([failed.id], 3_000)
    assert.equal(await take('c.1', 7_000), 1)
  })

  test(`${name}: repeated calls, unknown ids, other statuses and empty lists change nothing`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const [live, undone] = [await activate(store, newRegistration(token)), newRegistration(token)]
    await begin(store, undone)
    const all = () => store.listRegistrations({ limit: 9 })
    const held = ['reg_other', live.id, undone.id].map((id) => ({ id, owner: lease.owner }))
    for (let i = 0; i < 2; i++)
      assert.deepEqual([...(await store.startUndoing(held))], [undone.id], 'a repetition returns it again')
    const before = await all()
    const ids = idsOf(held)
    await store.postponeEnding(live.id, 'internal', 9_000)
    await store.finishEndings(ids, 9_000)
    await store.finishSweeps(ids, 9_000)
    await store.sweepAgain(ids, 9_000)
    await store.releaseLeases([{ id: 'reg_other', owner: lease.owner }])
    await store.releaseLeaderLease('other', 'a')
    assert.deepEqual(await store.endKeys(['reg_other', undone.id], SERVICE, 9_000), [])
    assert.equal((await store.takeLeases(ids, 'failed', lease, 9_000)).size, 0)
    assert.equal((await store.withdrawAnswers(['reg_other', undone.id], 9_000, lease)).size, 0)
    assert.deepEqual(await store.beginRegistrations([], lease), [])
    assert.equal((await store.completeRegistrations([], 9_000)).size, 0)
    assert.equal(
      (await store.failRegistrations([], { failure: 'internal', sweepAt: null, now: 9_000 })).size,
      0,
    )
    await store.renewLeases([], 9_000)
    await store.markDelivered(['reg_other', undone.id], 9_000)
    assert.deepEqual(await all(), before)
  })

  test(`${name}: rotations, also failed ones, are listed with their registration and among all records`, async (t) => {
    const store = await open(t)
    const root = await activate(store, newRegistration(await newTokenId(store)))
    const [failed, active] = [
      newRotation(root, { createdAt: 2_000 }),
      newRotation(root, { createdAt: 3_000 }),
    ]
    await begin(store, failed)
    const failing = { failure: 'internal', sweepAt: null, now: 2_500 } as const
    await store.failRegistrations([{ id: failed.id, owner: lease.owner }], failing)
    await activate(store, active)
    assert.deepEqual(idsOf(await store.listRotations(root.id)), [failed.id, active.id])
    assert.deepEqual(idsOf(await store.listRegistrations({ limit: 9 })), [active.id, failed.id, root.id])
    assert.deepEqual(await store.listRotations('reg_other'), [])
  })

  test(`${name}: every method records the audit entries of its changes, with details and keys`, async (t) => {
    const store = await open(t)
    const operator: Actor = {
      kind: 'operator',
      id: 'alice',
      requestId: null,
      clientAddress: null,
      identity: null,
    }
    const token = await newTokenId(store)
    const entriesOf = async ({ id }: NewRegistration) =>
      (await store.listAudit({ registrationId: id, limit: 99 }))
        .reverse()
        .map(({ at, action, detail, apiKeyId }) => [at - START, action, detail, apiKeyId])
    const completeAt = (one: NewRegistration, at: number, isAwaited = () => true) =>
      store.completeRegistrations(
        [newCompletion(one, { apiKeyId: `key ${at}`, actor: operator, isAwaited })],
        START + at,
      )
    const root = { ...newIdempotentRegistration(token, 'root', START), expiresAt: START + 9_000 }
    await begin(store, root)
    await completeAt(root, 1, () => false)
    await store.markAnswered(root.id, operator, START + 2)
    const rotation = newRotation(root, { createdAt: START + 3, overlapMs: 100, idempotencyKey: 'rotation' })
    await begin(store, rotation)
    await completeAt(rotation, 4, () => false)
    await store.markAnswered(rotation.id, operator, START + 5)
    await startDueEndings(store, START + 200, 9)
    await store.postponeEnding(root.id, 'upstream_unavailable', START + 201)
    await store.finishEndings([root.id], START + 202)
    await store.forgetIdempotency(START + 203)
    const pending = newRotation(root, { createdAt: START + 204 })
    await begin(store, pending)
    await store.revokeRegistration(root.id, operator, START + 205)
    await store.failRegistrations([{ id: pending.id, owner: lease.owner }], {
      failure: 'registration_ended',
      sweepAt: null,
      now: START + 206,
    })
    await store.finishEndings([rotation.id], START + 207)
    assert.deepEqual(await entriesOf(root), [
      [1, 'registration.created', null, 'key 1'],
      [2, 'registration.replayed', null, 'key 1'],
      [4, 'registration.rotated', null, 'key 4'],
      [5, 'registration.replayed', null, 'key 4'],
      [202, 'key.deleted', 'rotated', 'key 1'],
      [205, 'registration.revoked', null, null],
      [206, 'registration.undone', 'registration_ended', null],
      [207, 'key.deleted', 'revoked', 'key 4'],
    ])

    const [expired, missing, withdrawn] = [
      { ...newRegistration(token, START), expiresAt: START + 500 },
      newRegistration(token, START),
      newRegistration(token, START),
    ]
    await begin(store, expired, missing, withdrawn)
    for (const one of [expired, missing, withdrawn]) await completeAt(one, 300)
    await startDueEndings(store, START + 600, 9)
    assert.deepEqual(await entriesOf(expired), [
      [300, 'registration.created', null, 'key 300'],
      [600, 'registration.expired', null, 'key 300'],
    ])
    await store.endKeys([missing.id], operator, START + 601)
    assert.deepEqual((await entriesOf(missing)).at(-1), [
      601,
      'registration.revoked',
      'key_missing',
      'key 300',
    ])
    await store.withdrawAnswers([withdrawn.id], START + 300, lease)
    const held = [{ id: withdrawn.id, owner: lease.owner }]
    await store.failRegistrations(held, { failure: 'internal', sweepAt: START + 700, now: START + 602 })
    await store.takeLeases([withdrawn.id], 'failed', lease, START + 701)
    await store.finishSweeps([withdrawn.id], START + 701)
    assert.deepEqual(await entriesOf(withdrawn), [
      [300, 'registration.created', null, 'key 300'],
      [602, 'registration.undone', 'internal', null],
    ])
  })

  test(`${name}: in a large batch of a used-up token, known idempotency keys are duplicates and the others are refused`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store, 60)
    const keyed = (count: number, from = 0) =>
      Array.from({ length: count }, (_, i) => newIdempotentRegistration(token, `k${from + i}`))
    await begin(store, ...keyed(50))
    const count = async (registrations: NewRegistration[]) => {
      const outcomes = await begin(store, ...registrations)
      return ['duplicate', 'begun', 'refused'].map((each) => outcomes.filter((one) => one === each).length)
    }
    assert.deepEqual(await count(keyed(60)), [50, 10, 0])
    assert.deepEqual(await count(keyed(120)), [60, 0, 60])
    assert.equal((await store.getToken(token))?.uses, 60)
  })

  test(`${name}: a rotation that recovery undoes keeps others of its registration from beginning`, async (t) => {
    const store = await open(t)
    const root = await activate(store, newRegistration(await newTokenId(store)))
    const abandoned = newRotation(root, { createdAt: 2_000, idempotencyKey: 'k' })
    assert.deepEqual(await begin(store, abandoned), ['begun'])
    assert.ok(await complete(store, abandoned, () => false))
    await store.forgetIdempotency(3_000)
    const recovery = { owner: 'b.1', until: 9_000 }
    assert.equal((await store.takeLeases([abandoned.id], 'active', recovery, 4_000)).size, 1)
    const next = newRotation(root, { createdAt: 4_500 })
    assert.deepEqual(await begin(store, next), ['deleting'])
    const held = [{ id: abandoned.id, owner: recovery.owner }]
    await store.failRegistrations(held, { failure: 'abandoned', sweepAt: null, now: 5_000 })
    assert.deepEqual(await begin(store, next), ['begun'])
    assert.ok(await complete(store, next))
  })

  test(`${name}: recovery takes two abandoned rotations of one registration at once`, async (t) => {
    const store = await open(t)
    const root = await activate(store, newRegistration(await newTokenId(store)))
    const [first, second] = ['a', 'b'].map((idempotencyKey) =>
      newRotation(root, { createdAt: 2_000, idempotencyKey }),
    ) as [NewRegistration, NewRegistration]
    for (const one of [first, second]) {
      assert.deepEqual(await begin(store, one), ['begun'])
      assert.ok(await complete(store, one, () => false))
    }
    await store.forgetIdempotency(3_000)
    const ids = [first.id, second.id]
    const taken = await store.takeLeases(ids, 'active', { owner: 'b.1', until: 9_000 }, 4_000)
    assert.deepEqual([...taken].sort(), ids.toSorted())
    const held = ids.map((id) => ({ id, owner: 'b.1' }))
    const failed = await store.failRegistrations(held, { failure: 'abandoned', sweepAt: null, now: 5_000 })
    assert.equal(failed.size, 2)
    assert.deepEqual(await begin(store, newRotation(root, { createdAt: 6_000 })), ['begun'])
  })

  test(`${name}: the first answer of a rotation, and each later one, return the replaced record as it is stored`, async (t) => {
    const store = await open(t)
    const root = await activate(store, newRegistration(await newTokenId(store)))
    const rotation = newRotation(root, { createdAt: 2_000, renewsManagement: true, overlapMs: 90_000 })
    assert.deepEqual(await begin(store, rotation), ['begun'])
    const stored = () => store.getRegistration(root.id)
    assert.deepEqual((await complete(store, rotation))?.replaced, await stored())
    assert.deepEqual((await store.markAnswered(rotation.id, SERVICE, 3_000))?.replaced, await stored())

    const unanswered = newRotation(root, { createdAt: 4_000, idempotencyKey: 'k' })
    assert.deepEqual(await begin(store, unanswered), ['begun'])
    assert.ok(await complete(store, unanswered, () => false))
    const { replaced } = (await store.markAnswered(unanswered.id, SERVICE, 5_000)) ?? {}
    assert.deepEqual(replaced, await store.getRegistration(rotation.id))
  })

  test(`${name}: records that are left out of a list do not count against its limit`, async (t) => {
    const store = await open(t)
    const token = await newTokenId(store)
    const many = (change: Partial<NewRegistration>) =>
      Array.from({ length: 16 }, () => ({ ...newRegistration(token), ...change }))
    await store.beginRegistrations(many({ createdAt: 1_000, expiresAt: 3_000 }), {
      owner: 'busy',
      until: 99_000,
    })
    const abandoned = newRegistration(token, 2_000)
    await store.beginRegistrations([abandoned], { owner: 'dead', until: 3_000 })
    assert.deepEqual(idsOf(await store.listRecoverable(9_000, 1)), [abandoned.id], 'others are held')
    const due = await activate(store, { ...newRegistration(token), expiresAt: 4_000 })
    assert.deepEqual(
      idsOf(await store.listDue(9_000, 1)),
      [due.id],
      'others have expired while they are minted',
    )
  })
}
