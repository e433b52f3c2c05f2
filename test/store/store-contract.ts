import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { randomBase62 } from '../../src/auth/random.ts'
import { hashSecret } from '../../src/auth/secret-hash.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { BeginOutcome, Completion } from '../../src/store/minting.ts'
import type {
  BootstrapToken,
  Failure,
  Idempotency,
  Lease,
  NewRegistration,
  Registration,
  RegistrationStatus,
} from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { unlimitedPolicy } from '../support/service.ts'

/** Returns a new registration of a token, with a random id and no idempotency key. */
export function newRegistration(tokenId: string, createdAt = 1_000): NewRegistration {
  return {
    id: `reg_${randomBase62(20)}`,
    tokenId,
    name: 'acme-agent',
    description: '',
    plan: 'free',
    usagePlanId: 'demofree',
    managementHash: hashSecret(randomBase62(20)),
    createdAt,
    expiresAt: null,
    idempotency: null,
    rotation: null,
    clientMetadata: null,
    federated: null,
  }
}

/** Returns a new registration with an idempotency key. */
export function newIdempotentRegistration(
  tokenId: string,
  idempotencyKey: string,
  createdAt = 1_000,
): NewRegistration {
  return { ...newRegistration(tokenId, createdAt), idempotency: newIdempotency(idempotencyKey) }
}

export function newIdempotency(idempotencyKey: string): Idempotency {
  return {
    keyHash: hashSecret(idempotencyKey),
    requestHash: hashSecret('body'),
    sealed: Buffer.from('sealed'),
  }
}

export interface NewRotationOptions {
  readonly createdAt: number
  /** Default: 0, the replaced key ends at once. */
  readonly overlapMs?: number
  /** Default: `null`, the key never expires. */
  readonly expiresAt?: number | null
  /** Default: `false`. */
  readonly renewsManagement?: boolean
  /** Default: none. */
  readonly idempotencyKey?: string
  /** Default: `free`, as that of the registration. */
  readonly plan?: string
}

/** Returns a new rotation of a registration, with a random id. */
export function newRotation(
  { id: of, tokenId }: NewRegistration,
  {
    createdAt,
    idempotencyKey,
    expiresAt = null,
    overlapMs = 0,
    renewsManagement = false,
    plan = 'free',
  }: NewRotationOptions,
): NewRegistration {
  return {
    ...newRegistration(tokenId, createdAt),
    id: `rot_${randomBase62(20)}`,
    plan,
    expiresAt,
    idempotency: idempotencyKey === undefined ? null : newIdempotency(idempotencyKey),
    rotation: { of, overlapMs, renewsManagement },
  }
}

/** The lease under which the contract begins registrations, unless a test takes another one. */
export const lease: Lease = { owner: 'a.1', until: 5_000 }

/** Returns the completion of a registration that is held under {@link lease} and whose caller waits. */
export function newCompletion(
  registration: NewRegistration,
  overrides: Partial<Completion> = {},
): Completion {
  const { id } = registration
  return {
    id,
    registration,
    owner: lease.owner,
    actor: SERVICE,
    apiKeyId: 'k',
    isAwaited: () => true,
    ...overrides,
  }
}

async function begin(store: Store, registration: NewRegistration): Promise<BeginOutcome> {
  const [outcome] = await store.beginRegistrations([registration], lease)
  assert.ok(outcome)
  return outcome
}

async function complete(
  store: Store,
  registration: NewRegistration,
  { now, ...ending }: Omit<Completion, 'id' | 'registration'> & { now: number },
): Promise<boolean> {
  const { id } = registration
  return (await store.completeRegistrations([{ id, registration, ...ending }], now)).has(id)
}

async function fail(
  store: Store,
  id: string,
  { owner, ...ending }: { owner: string; failure: Failure; sweepAt: number | null; now: number },
): Promise<boolean> {
  return (await store.failRegistrations([{ id, owner }], ending)).has(id)
}

async function take(
  store: Store,
  id: string,
  status: RegistrationStatus,
  lease: Lease,
  now: number,
): Promise<boolean> {
  return (await store.takeLeases([id], status, lease, now)).has(id)
}

/** Starts the endings that are due. @returns the keys that are to be deleted */
export async function startDueEndings(store: Store, now: number, limit: number): Promise<Registration[]> {
  const due = await store.listDue(now, limit)
  await store.startEndings(
    due.map(({ id }) => id),
    now,
  )
  return (await store.listDue(now, limit)).filter(({ status }) => status === 'ending')
}

/** Ends the keys that are due, as if they were deleted in API Gateway. */
export async function finishDueEndings(store: Store, now: number): Promise<void> {
  const ending = await startDueEndings(store, now, 100)
  await store.finishEndings(
    ending.map(({ id }) => id),
    now,
  )
}

/** Opens an empty store, which is closed at the end of the test. */
export type OpenStore = (t: TestContext) => Store | Promise<Store>

/** The part of the contract about bootstrap tokens, and about registrations until their keys are minted or undone. */
export function storeContract(name: string, open: OpenStore): void {
  test(`${name}: a token is found by its id and by the hash of its secret, with all its fields`, async (t) => {
    const store = await open(t)
    const policy = {
      ...unlimitedPolicy,
      label: 'a "b" ü',
      plans: ['gold', 'free'],
      maxUses: 3,
      expiresAt: 9e12,
      keyTtlMs: 5,
      namePrefix: 'p',
      ratePerMinute: 7,
    }
    const { token, secret } = await issueBootstrapToken(store, policy, SERVICE, 42)
    const found = await store.findTokenByHash(hashSecret(secret))
    assert.deepEqual({ ...found, secretHash: Buffer.from(found?.secretHash ?? []) }, token)
    assert.equal((await store.getToken(token.id))?.label, policy.label)
    assert.equal(await store.findTokenByHash(hashSecret('other')), undefined)
    assert.equal(await store.getToken('tok_other'), undefined)
  })

  test(`${name}: tokens are listed newest first`, async (t) => {
    const store = await open(t)
    for (const [label, at] of [
      ['a', 1],
      ['b', 3],
      ['c', 2],
      ['d', 4],
    ] as const) {
      await issueBootstrapToken(store, { ...unlimitedPolicy, label }, SERVICE, at)
    }
    assert.deepEqual(
      (await store.listTokens()).map((token) => token.label),
      ['d', 'b', 'c', 'a'],
    )
  })

  test(`${name}: a token that is revoked twice keeps its first date; revoking an unknown token returns undefined`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    assert.equal((await store.revokeToken(token.id, SERVICE, 5))?.revokedAt, 5)
    assert.equal((await store.revokeToken(token.id, SERVICE, 9))?.revokedAt, 5)
    assert.equal(await store.revokeToken('tok_other', SERVICE, 5), undefined)
  })

  test(`${name}: beginning spends a use and records a pending registration, or does neither`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses: 1 }, SERVICE, 1)
    const [first, second] = [newRegistration(token.id), newRegistration(token.id)]
    assert.deepEqual(await begin(store, first), { outcome: 'begun' })
    const refused = await begin(store, second)
    assert.equal(refused.outcome, 'refused')
    assert.equal((await store.getRegistration(first.id))?.status, 'pending')
    assert.equal(await store.getRegistration(second.id), undefined)
    assert.equal((await store.getToken(token.id))?.uses, 1)
  })

  test(`${name}: a token that is revoked, expired or unknown begins no registration`, async (t) => {
    const store = await open(t)
    const revoked = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    await store.revokeToken(revoked.token.id, SERVICE, 2)
    const expired = await issueBootstrapToken(store, { ...unlimitedPolicy, expiresAt: 1_000 }, SERVICE, 1)
    for (const id of [revoked.token.id, expired.token.id, 'tok_other']) {
      const begun = await begin(store, newRegistration(id, 1_000))
      assert.equal(begun.outcome, 'refused')
    }
    assert.equal((await begin(store, newRegistration(expired.token.id, 999))).outcome, 'begun')
  })

  test(`${name}: a registration is completed or fails, and only once; failing refunds the use`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses: 2 }, SERVICE, 1)
    const [won, lost] = [newRegistration(token.id), newRegistration(token.id)]
    await begin(store, won)
    await begin(store, lost)

    assert.equal(
      await complete(store, won, {
        owner: 'a.1',
        actor: SERVICE,
        apiKeyId: 'key1',
        isAwaited: () => true,
        now: 7,
      }),
      true,
    )
    assert.equal(
      await fail(store, won.id, { owner: 'a.1', failure: 'internal', sweepAt: null, now: 8 }),
      false,
    )
    assert.equal(
      await complete(store, won, {
        owner: 'a.1',
        actor: SERVICE,
        apiKeyId: 'key2',
        isAwaited: () => true,
        now: 9,
      }),
      false,
    )
    assert.equal(
      await fail(store, lost.id, {
        owner: 'a.1',
        failure: 'upstream_unavailable',
        sweepAt: null,
        now: 8,
      }),
      true,
    )
    assert.equal(
      await fail(store, lost.id, { owner: 'a.1', failure: 'internal', sweepAt: null, now: 9 }),
      false,
    )
    assert.equal(
      await complete(store, lost, {
        owner: 'a.1',
        actor: SERVICE,
        apiKeyId: 'key3',
        isAwaited: () => true,
        now: 9,
      }),
      false,
    )

    const active = await store.getRegistration(won.id)
    assert.deepEqual([active?.status, active?.apiKeyId, active?.endedAt], ['active', 'key1', 7])
    const failed = await store.getRegistration(lost.id)
    assert.deepEqual(
      [failed?.status, failed?.failure, failed?.apiKeyId],
      ['failed', 'upstream_unavailable', null],
    )
    assert.equal((await store.getToken(token.id))?.uses, 1)
  })

  test(`${name}: an idempotency key begins one registration of each token, and another one after a failure`, async (t) => {
    const store = await open(t)
    const [one, two] = [
      await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1),
      await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1),
    ]
    const first = newIdempotentRegistration(one.token.id, 'k')
    assert.equal((await begin(store, first)).outcome, 'begun')
    assert.equal((await begin(store, newIdempotentRegistration(one.token.id, 'k'))).outcome, 'duplicate')
    assert.equal((await begin(store, newIdempotentRegistration(two.token.id, 'k'))).outcome, 'begun')
    assert.equal((await store.getToken(one.token.id))?.uses, 1)
    const found = await store.findByIdempotencyKey(one.token.id, hashSecret('k'))
    assert.equal(found?.id, first.id)
    assert.equal(Buffer.from(found?.idempotency?.sealed ?? []).toString(), 'sealed')

    await fail(store, first.id, { owner: 'a.1', failure: 'internal', sweepAt: null, now: 2 })
    assert.equal(await store.findByIdempotencyKey(one.token.id, hashSecret('k')), undefined)
    assert.equal((await begin(store, newIdempotentRegistration(one.token.id, 'k'))).outcome, 'begun')
  })

  test(`${name}: only the lease holder completes a registration; an expired lease is taken over once`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const registration = newRegistration(token.id)
    await begin(store, registration)
    const otherLease = (n: number) => ({ owner: `b.${n}`, until: 20_000 })
    assert.equal(await take(store, registration.id, 'pending', otherLease(0), 4_999), false)
    assert.deepEqual(await store.listRecoverable(4_999, 10), [])
    await store.renewLeases(['a.1'], 6_000)
    assert.equal(await take(store, registration.id, 'pending', otherLease(0), 5_500), false)
    assert.deepEqual(
      (await store.listRecoverable(6_000, 10)).map(({ id }) => id),
      [registration.id],
    )
    const taken = await Promise.all(
      [1, 2, 3].map((n) => take(store, registration.id, 'pending', otherLease(n), 6_000)),
    )
    assert.deepEqual(taken.filter(Boolean).length, 1)
    await store.renewLeases(['a.1'], 99_000)
    const late = { owner: 'a.1', actor: SERVICE, apiKeyId: 'k', isAwaited: () => true, now: 7_000 }
    assert.equal(await complete(store, registration, late), false)
    await store.releaseLeases([{ id: registration.id, owner: 'a.1' }])
    assert.deepEqual(await store.listRecoverable(7_000, 10), [], 'another owner does not release the lease')
    assert.equal(
      await complete(store, registration, { ...late, owner: `b.${taken.indexOf(true) + 1}` }),
      true,
    )
  })

  test(`${name}: recovery moves an unanswered registration without an idempotency key back to pending`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const unanswered = newIdempotentRegistration(token.id, 'k')
    await begin(store, unanswered)
    await complete(store, unanswered, {
      owner: 'a.1',
      actor: SERVICE,
      apiKeyId: 'k',
      isAwaited: () => false,
      now: 2_000,
    })
    assert.deepEqual(await store.listRecoverable(9e9, 10), [], 'it waits for its retry')
    assert.equal(await take(store, unanswered.id, 'active', { owner: 'c', until: 9e9 }, 9_000), false)
    await store.forgetIdempotency(1_000)
    assert.ok(await store.findByIdempotencyKey(token.id, hashSecret('k')), 'created at that time, not before')
    await store.forgetIdempotency(1_001)
    assert.equal(await store.findByIdempotencyKey(token.id, hashSecret('k')), undefined)
    assert.equal((await store.getRegistration(unanswered.id))?.idempotency, null)
    assert.equal(await take(store, unanswered.id, 'active', { owner: 'c', until: 9e9 }, 9_000), true)
    assert.equal(
      await store.markAnswered(unanswered.id, SERVICE, 9_000),
      undefined,
      'no retry receives a key that is being undone',
    )
    assert.equal(
      await fail(store, unanswered.id, {
        owner: 'c',
        failure: 'upstream_throttled',
        sweepAt: 9_500,
        now: 9_000,
      }),
      true,
    )
    assert.equal((await store.getToken(token.id))?.uses, 0)
    assert.deepEqual(await store.listRecoverable(9_499, 10), [])
    assert.deepEqual(
      (await store.listRecoverable(9_500, 10)).map(({ id }) => id),
      [unanswered.id],
    )
    await store.finishSweeps([unanswered.id], 9_500)
    assert.deepEqual(await store.listRecoverable(9e9, 10), [])
  })

  test(`${name}: an answered registration neither fails nor is recovered; revoking its token forgets the sealed secrets`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const registration = newIdempotentRegistration(token.id, 'k')
    await begin(store, registration)
    await complete(store, registration, {
      owner: 'a.1',
      actor: SERVICE,
      apiKeyId: 'k',
      isAwaited: () => false,
      now: 2_000,
    })
    assert.deepEqual(await store.markAnswered(registration.id, SERVICE, 3_000), { replaced: null })
    await store.revokeToken(token.id, SERVICE, 4_000)
    assert.equal((await store.getRegistration(registration.id))?.idempotency, null)
    assert.deepEqual(await store.listRecoverable(9e9, 10), [])
    assert.equal(await take(store, registration.id, 'active', { owner: 'c', until: 9e9 }, 9_000), false)
    assert.equal(
      await fail(store, registration.id, {
        owner: 'a.1',
        failure: 'upstream_throttled',
        sweepAt: null,
        now: 9,
      }),
      false,
    )
  })

  test(`${name}: a batch is begun, completed and failed registration by registration, in order`, async (t) => {
    const store = await open(t)
    const one = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses: 2 }, SERVICE, 1)
    const two = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const twice = newIdempotentRegistration(two.token.id, 'k')
    const batch = [
      newRegistration(one.token.id),
      twice,
      newRegistration(one.token.id),
      newRegistration(one.token.id),
      newIdempotentRegistration(two.token.id, 'k'),
      newRegistration('tok_other'),
    ] as const
    const outcomes = await store.beginRegistrations(batch, lease)
    assert.deepEqual(
      outcomes.map(({ outcome }) => outcome),
      ['begun', 'begun', 'begun', 'refused', 'duplicate', 'refused'],
    )
    assert.equal((await store.getToken(one.token.id))?.uses, 2)
    assert.equal((await store.getToken(two.token.id))?.uses, 1)

    const held = (owner: string) => batch.map(({ id }) => ({ id, owner }))
    assert.deepEqual([...(await store.startUndoing(held('b.1')))], [], 'not for another owner')
    const completions = batch.slice(0, 2).map((one) => newCompletion(one))
    const completed = await store.completeRegistrations(completions, 7)
    assert.deepEqual([...completed.keys()], [batch[0].id, batch[1].id])
    assert.deepEqual([...(await store.startUndoing(held('a.1')))], [batch[2].id])
    const ending = { failure: 'internal', sweepAt: null, now: 8 } as const
    assert.deepEqual([...(await store.failRegistrations(held('a.1'), ending))], [batch[2].id])
    assert.equal((await store.getToken(one.token.id))?.uses, 1)

    await store.sweepAgain(
      batch.map(({ id }) => id),
      99,
    )
    assert.deepEqual(
      (await store.listRecoverable(99, 10)).map(({ id }) => id),
      [batch[2].id],
      'only a failed registration is checked for a late key',
    )
  })

  test(`${name}: a batch begins as many registrations as the token has uses left, the first ones; the others get the used-up token`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses: 3 }, SERVICE, 1)
    await begin(store, newRegistration(token.id))
    const batch = Array.from({ length: 4 }, () => newRegistration(token.id))
    const outcomes = await store.beginRegistrations(batch, lease)
    assert.deepEqual(
      outcomes.map(({ outcome }) => outcome),
      ['begun', 'begun', 'refused', 'refused'],
    )
    for (const one of outcomes) {
      if (one.outcome === 'refused') assert.equal(one.token?.uses, 3)
    }
    assert.equal((await store.getToken(token.id))?.uses, 3)
  })

  test(`${name}: a batch of hundreds of registrations of several tokens, with the longest fields, is begun, completed and failed`, async (t) => {
    const store = await open(t)
    const now = Date.UTC(2026, 10, 30)
    const tokens: BootstrapToken[] = []
    for (const maxUses of [400, 150, null])
      tokens.push(
        (
          await issueBootstrapToken(
            store,
            { ...unlimitedPolicy, label: '字'.repeat(100), maxUses },
            SERVICE,
            now,
          )
        ).token,
      )
    const batch = Array.from({ length: 600 }, (_, i) => ({
      ...newIdempotentRegistration(tokens[i % 3]?.id ?? '', `key ${i}`),
      name: '字'.repeat(128),
      description: '界'.repeat(256),
    }))
    const outcomes = await store.beginRegistrations(batch, lease)
    const begun = batch.filter((_, i) => outcomes[i]?.outcome === 'begun')
    assert.equal(begun.length, 550)
    const [first] = begun
    const read = await store.getRegistration(first?.id ?? '')
    assert.deepEqual([read?.name, read?.description], ['字'.repeat(128), '界'.repeat(256)])

    const completions = begun.slice(50).map((one) => newCompletion(one))
    const completed = await store.completeRegistrations(completions, now)
    assert.equal(completed.size, 500)
    const held = begun.slice(0, 50).map(({ id }) => ({ id, owner: 'a.1' }))
    const failed = await store.failRegistrations(held, { failure: 'internal', sweepAt: null, now })
    assert.equal(failed.size, 50)
    const uses = await Promise.all(tokens.map(async ({ id }) => (await store.getToken(id))?.uses))
    assert.deepEqual(
      uses,
      tokens.map(({ id }) => begun.slice(50).filter(({ tokenId }) => tokenId === id).length),
    )
    const listed = await store.listRegistrations({ status: 'active', limit: 1_000 })
    assert.equal(listed.length, 500)
    assert.equal((await store.listRecoverable(99_000, 1_000)).length, 0)
    assert.equal((await store.listAudit({ limit: 9_999 })).length, 3 + 550)
  })

  test(`${name}: a registration that is being undone is not completed; finishing a late-key check keeps a later one`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const registration = newRegistration(token.id)
    const { id } = registration
    await store.beginRegistrations([registration], lease)
    await store.startUndoing([{ id, owner: 'a.1' }])
    await store.releaseLeases([{ id, owner: 'a.1' }])
    assert.equal(await take(store, id, 'pending', { owner: 'b.1', until: 9_000 }, 1_000), true)
    const completion = { owner: 'b.1', actor: SERVICE, apiKeyId: 'k', isAwaited: () => true, now: 2_000 }
    assert.equal(await complete(store, registration, completion), false, 'its deletion may still take effect')

    await fail(store, id, { owner: 'b.1', failure: 'abandoned', sweepAt: 3_000, now: 2_000 })
    assert.equal(await take(store, id, 'failed', { owner: 'c.1', until: 9_000 }, 3_000), true)
    await store.sweepAgain([id], 60_000)
    await store.finishSweeps([id], 3_000)
    assert.equal((await store.getRegistration(id))?.sweepAt, 60_000)
    assert.equal(await take(store, id, 'failed', { owner: 'd.1', until: 9e4 }, 60_000), true)
  })

  test(`${name}: registrations are listed newest first, and by status or token`, async (t) => {
    const store = await open(t)
    const [one, two] = [
      await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1),
      await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1),
    ]
    const [a, b, c] = [
      newRegistration(one.token.id, 1),
      newRegistration(two.token.id, 3),
      newRegistration(one.token.id, 2),
    ]
    for (const registration of [a, b, c]) await begin(store, registration)
    await complete(store, b, { owner: 'a.1', actor: SERVICE, apiKeyId: 'k', isAwaited: () => true, now: 5 })
    const ids = async (filter: object) =>
      (await store.listRegistrations({ limit: 10, ...filter })).map(({ id }) => id)
    assert.deepEqual(await ids({}), [b.id, c.id, a.id])
    assert.deepEqual(await ids({ limit: 1 }), [b.id])
    assert.deepEqual(await ids({ status: 'pending' }), [c.id, a.id])
    assert.deepEqual(await ids({ tokenId: two.token.id }), [b.id])
  })
}
