import assert from 'node:assert/strict'
import { test } from 'node:test'
import { randomBase62 } from '../../src/auth/random.ts'
import { hashSecret } from '../../src/auth/secret-hash.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { BeginOutcome } from '../../src/store/minting.ts'
import type { BootstrapToken, Federation, NewRegistration, Proof } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { assertPlaces, isClaimed } from '../support/invariants.ts'
import { unlimitedPolicy } from '../support/service.ts'
import {
  lease,
  type NewRotationOptions,
  newCompletion,
  newIdempotency,
  newRegistration,
  newRotation,
  type OpenStore,
} from './store-contract.ts'

const HOUR_MS = 3_600_000
/** The audit trail begins in this month. */
const START = Date.UTC(2026, 10)

/** Returns the virtual token of an identity. */
export function newVirtualToken(
  federation: Partial<Federation> = {},
  policy: Partial<BootstrapToken> = {},
): BootstrapToken {
  const id = `tok_${randomBase62(20)}`
  return {
    ...unlimitedPolicy,
    id,
    secretHash: hashSecret(`virtual\0${id}`),
    label: 'github acme-ci',
    uses: 0,
    createdAt: 1,
    revokedAt: null,
    ...policy,
    federation: {
      issuer: 'https://token.actions.githubusercontent.com',
      rule: 'acme-ci',
      identity: { repository_id: '42', environment: 'prod' },
      maxLive: null,
      onRepeat: 'rotate',
      overlapMs: HOUR_MS,
      nameIsExact: false,
      ...federation,
    },
  }
}

export function newProof(expiresAt = 9_000): Proof {
  return { hash: hashSecret(randomBase62(20)), expiresAt }
}

/** Returns a new registration of a federated caller, under a name that it holds. */
export function newFederated(
  { id }: BootstrapToken,
  {
    name = `agent-${randomBase62(8)}`,
    proof = null,
    holdsName = true,
    key,
    ...rest
  }: Partial<NewRegistration> & { proof?: Proof | null; holdsName?: boolean; key?: string } = {},
): NewRegistration {
  const idempotency = key === undefined ? null : newIdempotency(key)
  return { ...newRegistration(id), name, idempotency, federated: { proof, holdsName }, ...rest }
}

/** Returns a rotation of a registration for which a federated caller shows a proof. */
export function newFederatedRotation(
  one: NewRegistration,
  options: NewRotationOptions,
  proof: Proof | null,
): NewRegistration {
  return { ...newRotation(one, options), name: one.name, federated: { proof, holdsName: false } }
}

const begin = async (store: Store, ...all: NewRegistration[]): Promise<BeginOutcome[]> =>
  store.beginRegistrations(all, lease)

const complete = async (
  store: Store,
  one: NewRegistration,
  { now = 2_000, isAwaited = (): boolean => true } = {},
) => {
  const completion = newCompletion(one, { apiKeyId: `key of ${one.id}`, isAwaited })
  assert.ok((await store.completeRegistrations([completion], now)).has(one.id))
}

const fail = (store: Store, one: NewRegistration, owner = lease.owner) =>
  store.failRegistrations([{ id: one.id, owner }], { failure: 'internal', sweepAt: null, now: 3_000 })

async function virtualToken(store: Store, federation: Partial<Federation> = {}): Promise<BootstrapToken> {
  return store.putVirtualToken(newVirtualToken(federation), SERVICE)
}

/** Records a registration that is alive. */
async function live(store: Store, token: BootstrapToken, options: Partial<NewRegistration> = {}) {
  const one = newFederated(token, options)
  assert.deepEqual(await begin(store, one), [{ outcome: 'begun' }])
  await complete(store, one)
  return one
}

async function rotate(store: Store, one: NewRegistration, options: Partial<NewRotationOptions> = {}) {
  const rotation = newRotation(one, { createdAt: 2_500, ...options })
  assert.deepEqual(await begin(store, rotation), [{ outcome: 'begun' }])
  await complete(store, rotation, { now: 2_500 })
  return rotation
}

const usesOf = async (store: Store, { id }: BootstrapToken) => (await store.getToken(id))?.uses

/** A way for a registration to end, or not to: `held` and `freed` say whether it still holds its place after it. */
type Path = readonly [
  name: string,
  after: 'held' | 'freed',
  walk: (store: Store, token: BootstrapToken, one: NewRegistration) => Promise<unknown>,
]

const NOT_AWAITED = { isAwaited: () => false }

/** Every path of lifecycle.ts on which a key ends or fails, from a registration that is `pending` and expires at 8,000. */
const paths: readonly Path[] = [
  ['it fails before a key could exist', 'freed', (store, _, one) => fail(store, one)],
  ['it fails twice', 'freed', async (store, _, one) => [await fail(store, one), await fail(store, one)]],
  [
    'its key is undone',
    'freed',
    async (store, _, one) => {
      await store.startUndoing([{ id: one.id, owner: lease.owner }])
      await fail(store, one)
    },
  ],
  [
    'no caller received it, it is forgotten and recovered',
    'freed',
    async (store, _, one) => {
      await complete(store, one, NOT_AWAITED)
      await store.forgetIdempotency(9_000)
      const taken = await store.takeLeases([one.id], 'active', { owner: 'r.1', until: 9_000 }, 3_000)
      assert.deepEqual([...taken], [one.id])
      await fail(store, one, 'r.1')
    },
  ],
  [
    'it is displaced by another request and recovered',
    'freed',
    async (store, _, one) => {
      await complete(store, one, NOT_AWAITED)
      assert.equal(await store.displaceUnanswered(one.id), true)
      await store.takeLeases([one.id], 'active', { owner: 'r.1', until: 9_000 }, 3_000)
      await fail(store, one, 'r.1')
    },
  ],
  [
    'its answer is withdrawn',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      await store.forgetIdempotency(9_000)
      await store.withdrawAnswers([one.id], 9_000, { owner: 'r.1', until: 9_000 })
      await fail(store, one, 'r.1')
    },
  ],
  [
    'its answer is withdrawn, and it is not undone yet',
    'held',
    async (store, _, one) => {
      await complete(store, one)
      await store.forgetIdempotency(9_000)
      await store.withdrawAnswers([one.id], 9_000, { owner: 'r.1', until: 9_000 })
    },
  ],
  ['it is being minted', 'held', async () => undefined],
  ['it is alive', 'held', (store, _, one) => complete(store, one)],
  [
    'it is alive, and its token is revoked',
    'held',
    async (store, token, one) => {
      await complete(store, one)
      await store.revokeToken(token.id, SERVICE, 3_000)
    },
  ],
  [
    'it expires',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      assert.equal((await store.startEndings([one.id], 8_000)).length, 1)
    },
  ],
  [
    'it expires, is deleted, and is revoked after that',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      await store.startEndings([one.id], 8_000)
      await store.startEndings([one.id], 8_001)
      await store.finishEndings([one.id], 8_002)
      await store.revokeRegistration(one.id, SERVICE, 8_003)
    },
  ],
  [
    'it expires, and is revoked before it is deleted',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      await store.startEndings([one.id], 8_000)
      await store.revokeRegistration(one.id, SERVICE, 8_001)
      await store.revokeRegistration(one.id, SERVICE, 8_002)
    },
  ],
  [
    'it is revoked twice',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      await store.revokeRegistration(one.id, SERVICE, 3_000)
      await store.revokeRegistration(one.id, SERVICE, 3_001)
    },
  ],
  [
    'it is revoked before a caller received it',
    'freed',
    async (store, _, one) => {
      await complete(store, one, NOT_AWAITED)
      await store.revokeRegistration(one.id, SERVICE, 3_000)
    },
  ],
  [
    'it is revoked while it is minted',
    'held',
    (store, _, one) => store.revokeRegistration(one.id, SERVICE, 3_000),
  ],
  [
    'it is revoked while it is minted, and undone',
    'freed',
    async (store, _, one) => {
      await store.revokeRegistration(one.id, SERVICE, 3_000)
      await fail(store, one)
    },
  ],
  [
    'its key is gone from API Gateway',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      assert.equal((await store.endKeys([one.id], SERVICE, 3_000)).length, 1)
      assert.equal((await store.endKeys([one.id], SERVICE, 3_001)).length, 0)
      await store.revokeRegistration(one.id, SERVICE, 3_002)
    },
  ],
  [
    'it is suspended',
    'held',
    async (store, _, one) => {
      await complete(store, one)
      await store.setSuspended(one.id, true, SERVICE, 3_000)
    },
  ],
  [
    'it is suspended and revoked',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      await store.setSuspended(one.id, true, SERVICE, 3_000)
      await store.revokeRegistration(one.id, SERVICE, 3_001)
    },
  ],
  [
    'it is suspended and expires',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      await store.setSuspended(one.id, true, SERVICE, 3_000)
      await store.startEndings([one.id], 8_000)
    },
  ],
  [
    'it is rotated, and its first key ends',
    'held',
    async (store, _, one) => {
      await complete(store, one)
      await rotate(store, one)
      assert.equal((await store.startEndings([one.id], 2_500)).length, 1)
      await store.finishEndings([one.id], 2_501)
    },
  ],
  [
    'it is rotated, and its replaced key is gone from API Gateway',
    'held',
    async (store, _, one) => {
      await complete(store, one)
      await rotate(store, one, { overlapMs: 1_000 })
      assert.equal((await store.endKeys([one.id], SERVICE, 2_600)).length, 1)
    },
  ],
  [
    'it is rotated, and its present key is gone from API Gateway',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      const rotation = await rotate(store, one, { overlapMs: 1_000 })
      assert.equal((await store.endKeys([rotation.id], SERVICE, 2_600)).length, 1)
      await store.endKeys([one.id], SERVICE, 2_601)
    },
  ],
  [
    'it is rotated, and its present key expires before the replaced one ends',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      const rotation = await rotate(store, one, { expiresAt: 3_000, overlapMs: 4_000 })
      await store.startEndings([rotation.id], 3_000)
      await store.startEndings([one.id], 8_000)
      await store.revokeRegistration(one.id, SERVICE, 8_001)
    },
  ],
  [
    'it is rotated twice and revoked',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      await rotate(store, one)
      await store.startEndings([one.id], 2_500)
      await store.finishEndings([one.id], 2_500)
      await rotate(store, one, { createdAt: 2_600, overlapMs: 1_000 })
      await store.revokeRegistration(one.id, SERVICE, 2_700)
      await store.revokeRegistration(one.id, SERVICE, 2_701)
    },
  ],
  [
    'a rotation of it fails',
    'held',
    async (store, _, one) => {
      await complete(store, one)
      const rotation = newRotation(one, { createdAt: 2_500 })
      await begin(store, rotation)
      await fail(store, rotation)
    },
  ],
  [
    'a rotation of it that no caller received expires',
    'held',
    async (store, _, one) => {
      await complete(store, one)
      const rotation = newRotation(one, { createdAt: 2_500, expiresAt: 3_000, idempotencyKey: 'rotation' })
      await begin(store, rotation)
      await complete(store, rotation, NOT_AWAITED)
      assert.equal((await store.startEndings([rotation.id], 3_000)).length, 1)
    },
  ],
  [
    'it expires while a rotation of it waits for its caller',
    'freed',
    async (store, _, one) => {
      await complete(store, one)
      const rotation = newRotation(one, { createdAt: 2_500, idempotencyKey: 'rotation' })
      await begin(store, rotation)
      await complete(store, rotation, NOT_AWAITED)
      await store.startEndings([one.id], 8_000)
      assert.equal(await store.markAnswered(rotation.id, SERVICE, 8_001), undefined)
    },
  ],
]

/** The part of the contract about virtual tokens: what their registrations hold, and how it comes back. */
export function federationContract(name: string, open: OpenStore): void {
  test(`${name}: a virtual token is recorded once and takes a changed grant; uses, creation and revocation stay`, async (t) => {
    const store = await open(t)
    const token = newVirtualToken(
      { maxLive: 3, identity: { sub: 'a', n: 4e300, b: false } },
      { plans: ['gold'], createdAt: START },
    )
    const put = (changed: BootstrapToken) => store.putVirtualToken(changed, SERVICE)
    const both = await Promise.all([put(token), put(token)])
    for (const one of [...both, await store.getToken(token.id)])
      assert.deepEqual({ ...one, secretHash: Buffer.from(one?.secretHash ?? []) }, token)
    assert.equal(await store.findTokenByHash(token.secretHash), undefined, 'it has no secret')
    assert.deepEqual(
      (await store.listTokens()).map(({ id }) => id),
      [token.id],
    )

    await live(store, token)
    await store.revokeToken(token.id, SERVICE, START + 5)
    const federation = token.federation && { ...token.federation, rule: 'other', maxLive: null }
    const changed = {
      ...token,
      label: 'new',
      plans: [],
      keyTtlMs: 7,
      namePrefix: 'x',
      createdAt: 77,
      federation,
    }
    const stored = { ...changed, uses: 1, createdAt: START, revokedAt: START + 5 }
    for (const one of [await put(changed), await put(changed), await store.getToken(token.id)])
      assert.deepEqual({ ...one, secretHash: Buffer.from(one?.secretHash ?? []) }, stored)
    const actions = (await store.listAudit({ tokenId: token.id, limit: 9, since: START })).map(
      ({ action }) => action,
    )
    assert.deepEqual(actions.sort(), ['token.created', 'token.revoked'])
  })

  test(`${name}: maxLive limits the registrations that are pending or alive, also after it was changed`, async (t) => {
    const store = await open(t)
    const token = newVirtualToken({ maxLive: 2 })
    const limit = (maxLive: number | null) =>
      store.putVirtualToken(
        { ...token, federation: token.federation && { ...token.federation, maxLive } },
        SERVICE,
      )
    const tryOne = async () => (await begin(store, newFederated(token)))[0]?.outcome
    await limit(2)
    const [one, two] = [await live(store, token), await live(store, token)]
    const [refused] = await begin(store, newFederated(token))
    assert.equal(refused?.outcome, 'refused')
    assert.equal(refused?.outcome === 'refused' && refused.token?.uses, 2)

    assert.equal((await limit(1)).uses, 2)
    await store.revokeRegistration(one.id, SERVICE, 3_000)
    assert.equal(await tryOne(), 'refused', 'one is alive and one is allowed')
    await store.revokeRegistration(two.id, SERVICE, 3_000)
    assert.equal(await tryOne(), 'begun')
    await limit(3)
    assert.deepEqual([await tryOne(), await tryOne(), await tryOne()], ['begun', 'begun', 'refused'])
    await limit(null)
    assert.equal(await tryOne(), 'begun')
    await limit(4)
    assert.equal(await tryOne(), 'refused')
    assert.equal(await usesOf(store, token), 4)
    await assertPlaces(store)
  })

  for (const [path, after, walk] of paths)
    test(`${name}: a place and a name are ${after} when ${path}`, async (t) => {
      const store = await open(t)
      const token = await virtualToken(store, { maxLive: 2 })
      const other = await live(store, token)
      const one = newFederated(token, { key: 'one', expiresAt: 8_000 })
      const again = () => newFederated(token, { name: one.name, createdAt: 2_000 })
      await begin(store, one)
      assert.deepEqual(await begin(store, again()), [{ outcome: 'name_taken', registrationId: one.id }])
      await walk(store, token, one)

      assert.equal(await usesOf(store, token), after === 'held' ? 2 : 1)
      const holder = await store.findLiveByName(token.id, one.name)
      assert.equal(holder?.id, after === 'held' ? one.id : undefined)
      assert.equal((await store.getRegistration(one.id))?.holdsPlace, after === 'held')
      await assertPlaces(store)
      if (after === 'held') {
        assert.deepEqual(await begin(store, again()), [{ outcome: 'name_taken', registrationId: one.id }])
        return
      }
      const next = again()
      assert.deepEqual(await begin(store, next), [{ outcome: 'begun' }])
      assert.equal((await begin(store, newFederated(token)))[0]?.outcome, 'refused')
      // What ended before neither gives the new place back nor takes the new name away.
      await store.revokeRegistration(one.id, SERVICE, 9_000)
      await store.endKeys([one.id], SERVICE, 9_000)
      await store.startEndings([one.id], 9_000)
      await fail(store, one)
      assert.equal(await usesOf(store, token), 2)
      assert.equal((await store.findLiveByName(token.id, one.name))?.id, next.id)
      assert.equal((await store.findLiveByName(token.id, other.name))?.id, other.id)
      await assertPlaces(store)
    })

  test(`${name}: a name belongs to its token, and is held only where that is asked for`, async (t) => {
    const store = await open(t)
    const [token, other] = [await virtualToken(store), await virtualToken(store)]
    const one = newFederated(token, { name: 'näme # 1' })
    const same = { name: one.name }
    const beginOne = async (of: NewRegistration) => (await begin(store, of))[0]?.outcome
    assert.equal(await beginOne(newFederated(token, { ...same, holdsName: false })), 'begun')
    assert.equal(await store.findLiveByName(token.id, one.name), undefined)
    assert.equal(await beginOne(one), 'begun')
    assert.equal(await beginOne(newFederated(token, { ...same, holdsName: false })), 'begun')
    assert.equal(await beginOne(newFederated(other, same)), 'begun')
    assert.equal(await beginOne(newFederated(token, same)), 'name_taken')
    assert.equal(await beginOne({ ...newRegistration(token.id), ...same }), 'begun')
    assert.equal((await store.findLiveByName(token.id, one.name))?.id, one.id)
    assert.equal((await store.findLiveByName(token.id, one.name))?.federated?.holdsName, true)
    assert.equal(await store.findLiveByName('tok_other', one.name), undefined)
  })

  test(`${name}: a proof is claimed by one registration, rotation or access token, and given back if that fails`, async (t) => {
    const store = await open(t)
    const [token, other] = [await virtualToken(store), await virtualToken(store)]
    const [proof, second, third] = [newProof(), newProof(), newProof()]
    const one = newFederated(token, { proof, key: 'k' })
    assert.deepEqual(await begin(store, one), [{ outcome: 'begun' }])
    const replayed = [{ outcome: 'replayed', holder: one.id }]
    assert.deepEqual(await begin(store, newFederated(token, { proof })), replayed)
    assert.deepEqual(await begin(store, newFederated(other, { proof })), replayed, 'for any token')
    assert.deepEqual(await begin(store, newFederated(token, { proof, key: 'k' })), [{ outcome: 'duplicate' }])
    assert.deepEqual(
      await begin(store, newFederated(token, { proof, name: one.name })),
      replayed,
      'before the name',
    )
    assert.equal(await store.createAccessToken(accessToken(token), proof, SERVICE, 1_000), 'replayed')
    assert.deepEqual(await store.findProof(proof.hash), { holder: one.id })
    assert.equal(await usesOf(store, token), 1)

    await fail(store, one)
    assert.equal(await store.findProof(proof.hash), undefined)
    const next = newFederated(token, { proof, key: 'k' })
    assert.deepEqual(await begin(store, next), [{ outcome: 'begun' }])
    await fail(store, one)
    assert.equal(await isClaimed(store, proof), true, 'the first one has nothing left to give back')
    await complete(store, next)
    await store.revokeRegistration(next.id, SERVICE, 3_000)
    assert.equal(await isClaimed(store, proof), true, 'it was used')

    const root = await live(store, token)
    const rotation = newFederatedRotation(root, { createdAt: 2_500 }, second)
    const used = newFederatedRotation(root, { createdAt: 2_500 }, proof)
    assert.deepEqual(await begin(store, used), [{ outcome: 'replayed', holder: next.id }])
    assert.deepEqual(await begin(store, rotation), [{ outcome: 'begun' }])
    assert.deepEqual(await begin(store, newFederatedRotation(root, { createdAt: 2_500 }, newProof())), [
      { outcome: 'busy' },
    ])
    assert.deepEqual(await begin(store, newFederated(token, { proof: second })), [
      { outcome: 'replayed', holder: rotation.id },
    ])
    assert.deepEqual(
      (await store.getRegistration(rotation.id))?.federated?.proof?.expiresAt,
      second.expiresAt,
    )
    await fail(store, rotation)
    assert.equal(await isClaimed(store, second), false)

    assert.equal(await store.createAccessToken(accessToken(token), third, SERVICE, 1_000), 'created')
    assert.deepEqual(await begin(store, newFederated(token, { proof: third })), [
      { outcome: 'replayed', holder: null },
    ])
    assert.deepEqual(await store.findProof(third.hash), { holder: null })
    await assertPlaces(store)
  })

  test(`${name}: a proof that has expired stays claimed, until it is purged`, async (t) => {
    const store = await open(t)
    const token = await virtualToken(store)
    const [old, fresh] = [newProof(2_000), newProof(9_000)]
    await begin(store, newFederated(token, { proof: old }), newFederated(token, { proof: fresh }))
    assert.deepEqual(
      (await begin(store, newFederated(token, { proof: old, createdAt: 5_000 })))[0]?.outcome,
      'replayed',
    )
    const removed = await store.purgeProofs(3_000, 10)
    assert.equal(await isClaimed(store, fresh), true)
    assert.equal(await isClaimed(store, old), removed === 0, 'a database may remove them later, by itself')
    assert.equal(await store.purgeProofs(3_000, 10), 0)
  })

  test(`${name}: an access token is found with its virtual token, until long after it has expired`, async (t) => {
    const store = await open(t)
    const token = await virtualToken(store)
    const [one, two] = [accessToken(token, 8_000), accessToken(token, 7_000)]
    const actor = { ...SERVICE, kind: 'token', id: token.id, requestId: 'req_1' } as const
    const proof = newProof()
    assert.equal(await store.createAccessToken(one, proof, actor, START), 'created')
    assert.equal(await store.createAccessToken(two, null, actor, START), 'created')
    await assert.rejects(store.createAccessToken(one, newProof(), actor, START), /already an access token/)
    const found = await store.findAccessToken(one.secretHash)
    assert.deepEqual(
      [found?.token.id, found?.token.federation, found?.expiresAt],
      [token.id, token.federation, 8_000],
    )
    assert.equal(await store.findAccessToken(hashSecret('other')), undefined)
    assert.equal(await store.findTokenByHash(one.secretHash), undefined)
    assert.deepEqual(
      (await store.listAccessTokens()).map((each) => [each.expiresAt, each.proof?.expiresAt]),
      [
        [7_000, undefined],
        [8_000, proof.expiresAt],
      ],
    )
    const entries = await store.listAudit({ tokenId: token.id, limit: 9, since: START })
    assert.equal(entries.length, 2)
    const [entry] = entries
    assert.deepEqual([entry?.action, entry?.detail, entry?.actor], ['access_token.created', null, actor])
    await store.purgeProofs(7_000, 10)
    assert.ok(await store.findAccessToken(two.secretHash), 'not before it expired')
  })

  test(`${name}: in one batch, what a registration that does not begin would have claimed is left to the next one`, async (t) => {
    const store = await open(t)
    const [token, other] = [await virtualToken(store), await virtualToken(store, { maxLive: 0 })]
    const [p, q, r] = [newProof(), newProof(), newProof()]
    const held = newFederated(token, { name: 'held', proof: p, key: 'held' })
    await begin(store, held)
    const batch = [
      newFederated(token, { name: 'b', proof: q, key: 'held' }),
      newFederated(token, { name: 'b', proof: q }),
      newFederated(token, { name: 'held', key: 'z' }),
      newFederated(token, { name: 'c', key: 'z' }),
      newFederated(token, { name: 'd', proof: p, key: 'y' }),
      newFederated(token, { name: 'd', proof: r, key: 'y' }),
      newFederated(other, { name: 'e', key: 'x' }),
      newFederated(other, { name: 'e', key: 'x' }),
      newFederated(token, { name: 'd', proof: r, key: 'y' }),
      newFederated(token, { name: 'd' }),
    ]
    const outcomes = (await begin(store, ...batch)).map(({ outcome }) => outcome)
    assert.deepEqual(outcomes, [
      ...['duplicate', 'begun', 'name_taken', 'begun', 'replayed', 'begun'],
      ...['refused', 'refused', 'duplicate', 'name_taken'],
    ])
    assert.equal(await usesOf(store, token), 4)
    await assertPlaces(store)
  })

  test(`${name}: of many that begin at once, one gets the proof, the name, or the last place, and the others cost nothing`, async (t) => {
    const store = await open(t)
    const cases = [
      ['proof', { proof: newProof() }, 'replayed'],
      ['name', { name: 'same' }, 'name_taken'],
    ] as const
    for (const [what, same, refusal] of cases)
      for (const together of [true, false]) {
        const token = await virtualToken(store)
        const proof = 'proof' in same ? newProof() : null
        const all = Array.from({ length: 12 }, () => newFederated(token, { ...same, proof }))
        const outcomes = together
          ? await begin(store, ...all)
          : (await Promise.all(all.map((one) => begin(store, one)))).flat()
        const counts = Object.groupBy(outcomes, ({ outcome }) => outcome)
        assert.deepEqual([counts.begun?.length, counts[refusal]?.length], [1, 11], `${what} ${together}`)
        assert.equal(await usesOf(store, token), 1)
        const winner = all[outcomes.findIndex(({ outcome }) => outcome === 'begun')]?.id
        for (const one of counts[refusal] ?? [])
          assert.equal(
            one.outcome === 'replayed' ? one.holder : 'registrationId' in one && one.registrationId,
            winner,
          )
      }
    const token = await virtualToken(store, { maxLive: 1 })
    const last = await Promise.all(Array.from({ length: 6 }, () => begin(store, newFederated(token))))
    assert.equal(last.flat().filter(({ outcome }) => outcome === 'begun').length, 1)
    await assertPlaces(store)
  })
}

/** Returns a new access token of a virtual token. */
export function accessToken({ id }: BootstrapToken, expiresAt = 600_000) {
  return { secretHash: hashSecret(randomBase62(20)), tokenId: id, expiresAt }
}
