import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashSecret } from '../../src/auth/secret-hash.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { FROM_THE_POOL, type HandOut, type HandOutOutcome } from '../../src/store/pool.ts'
import type { NewRegistration, Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { newFederated, newProof, newVirtualToken } from './federation-contract.ts'
import {
  ANN,
  apiKeyOf,
  BEN,
  fillPool,
  handOut,
  LEASE_MS,
  newHandedOut,
  newHandOut,
  newReadyKey,
  newTokenId,
  type OpenTwice,
  poolKey,
  recordsOf,
  T,
} from './pool-keys.ts'
import { newCompletion, newIdempotency, newRegistration, newRotation } from './store-contract.ts'

const outcomesOf = (outcomes: readonly HandOutOutcome[]) => outcomes.map(({ outcome }) => outcome)

/** Begins and completes a registration or rotation in two steps. */
async function mint(store: Store, registration: NewRegistration, isAnswered = true): Promise<void> {
  const lease = { owner: 'a.1', until: T + 5_000 }
  assert.deepEqual(await store.beginRegistrations([registration], lease), [{ outcome: 'begun' }])
  const completion = newCompletion(registration, { isAwaited: () => isAnswered })
  assert.equal((await store.completeRegistrations([completion], T)).size, 1)
}

/** A record without what tells it from another one of the same history. */
const anonymous = ({ id: _id, apiKeyId: _key, managementHash: _hash, rotation, ...rest }: Registration) => ({
  ...rest,
  rotation: rotation && { ...rotation, of: 'another' },
  replacedId: rest.replacedId && 'another',
})

const existing = async (store: Store, id: string): Promise<Registration> => {
  const one = await store.getRegistration(id)
  assert.ok(one, id)
  return one
}

/**
 * A reason for which a hand-out is refused, and the outcome that says so; `refused` has the token's record. `spoil` prepares it,
 * before everything is compared.
 */
type Refusal = readonly [
  name: string,
  outcome: HandOutOutcome | 'refused',
  spoil: (store: Store, one: HandOut) => Promise<Partial<HandOut>>,
]

/** Gives the hand-out another registration, under the same id. */
const to = ({ registration: { id } }: HandOut, registration: NewRegistration): Partial<HandOut> => ({
  registration: { ...registration, id },
})

/** Replaces the registration of a hand-out by a rotation of a new registration, which `spoil` changes before. */
const rotating =
  (spoil: (store: Store, root: NewRegistration) => Promise<unknown>): Refusal[2] =>
  async (store, { poolKeyId, registration: { tokenId } }) => {
    const root = { ...newRegistration(tokenId, T), expiresAt: T + 50 }
    await mint(store, root)
    await spoil(store, root)
    return {
      poolKeyId,
      registration: { ...newRotation(root, { createdAt: T + 10 }), id: poolKeyId.replace('pool', 'rot') },
    }
  }

const LOST: readonly Refusal[] = [
  ['an unknown pool key', { outcome: 'key_lost' }, async () => ({ poolKeyId: 'pool_unknown' })],
  ['a key of another holder', { outcome: 'key_lost' }, async () => ({ owner: BEN })],
  ['another key than the record names', { outcome: 'key_lost' }, async () => ({ apiKeyId: 'other' })],
  [
    'a key that was given up',
    { outcome: 'key_lost' },
    async (store, { poolKeyId }) => {
      await store.givePoolKeysUp([poolKeyId], ANN)
      return {}
    },
  ],
  [
    'a key of a holder that was released',
    { outcome: 'key_lost' },
    async (store) => {
      await store.releasePoolHolder(ANN)
      return {}
    },
  ],
  [
    'a key that is being discarded',
    { outcome: 'key_lost' },
    async (store, { poolKeyId }) => {
      await store.discardPoolKeys([poolKeyId], ANN, T)
      return {}
    },
  ],
  [
    'a key that is warming up',
    { outcome: 'key_lost' },
    async (store) => {
      const id = 'pool_warming'
      const key = { id, plan: 'free', usagePlanId: 'demofree', createdAt: T }
      await store.beginPoolKeys([key], ANN, 9)
      const change = { id, to: 'warming', apiKeyId: apiKeyOf({ id }), seenWorking: false } as const
      await store.advancePoolKeys([change], ANN, T)
      return { poolKeyId: id, apiKeyId: apiKeyOf({ id }) }
    },
  ],
  [
    'a key of another plan',
    { outcome: 'key_lost' },
    async (_store, one) => to(one, { ...one.registration, plan: 'gold', usagePlanId: 'demogold' }),
  ],
]

const REFUSALS: readonly Refusal[] = [
  ...LOST,
  ['a caller who hung up', { outcome: 'not_awaited' }, async () => ({ isAwaited: () => false })],
  [
    'a registration that has expired',
    { outcome: 'expired' },
    async (_store, one) => to(one, { ...one.registration, expiresAt: T + 10 }),
  ],
  [
    'a known idempotency key',
    { outcome: 'duplicate' },
    async (store, one) => {
      const idempotency = newIdempotency('k')
      await mint(store, { ...newRegistration(one.registration.tokenId, T), idempotency })
      return to(one, { ...one.registration, idempotency })
    },
  ],
  [
    'a revoked token',
    'refused',
    async (store, one) => {
      await store.revokeToken(one.registration.tokenId, SERVICE, T)
      return {}
    },
  ],
  [
    'a token that is used up',
    'refused',
    async (store, one) => {
      const tokenId = await newTokenId(store, { maxUses: 1 })
      await mint(store, newRegistration(tokenId, T))
      return to(one, { ...one.registration, tokenId })
    },
  ],
  [
    'a token that expired before the registration began',
    'refused',
    async (store, one) =>
      to(one, { ...one.registration, tokenId: await newTokenId(store, { expiresAt: T }) }),
  ],
  [
    'an unknown token',
    'refused',
    async (_store, one) => to(one, { ...one.registration, tokenId: 'tok_unknown' }),
  ],
  [
    'a proof that was shown before',
    { outcome: 'replayed', holder: 'reg_first' },
    async (store, one) => {
      const token = await store.putVirtualToken(newVirtualToken(), SERVICE)
      const proof = newProof(T + 9_000)
      await mint(store, { ...newFederated(token, { proof }), id: 'reg_first', createdAt: T })
      return to(one, { ...newFederated(token, { proof }), createdAt: T })
    },
  ],
  [
    'a name that is taken',
    { outcome: 'name_taken', registrationId: 'reg_named' },
    async (store, one) => {
      const token = await store.putVirtualToken(newVirtualToken(), SERVICE)
      await mint(store, { ...newFederated(token, { name: 'agent' }), id: 'reg_named', createdAt: T })
      return to(one, { ...newFederated(token, { name: 'agent', proof: newProof(T + 9_000) }), createdAt: T })
    },
  ],
  [
    'an identity without a place left',
    'refused',
    async (store, one) => {
      const token = await store.putVirtualToken(newVirtualToken({ maxLive: 1 }), SERVICE)
      await mint(store, { ...newFederated(token), createdAt: T })
      return to(one, { ...newFederated(token, { proof: newProof(T + 9_000) }), createdAt: T })
    },
  ],
  [
    'a rotation of a revoked registration',
    { outcome: 'ended' },
    rotating((store, { id }) => store.revokeRegistration(id, SERVICE, T)),
  ],
  [
    'a rotation of an unknown registration',
    { outcome: 'ended' },
    async (_store, one) => to(one, newRotation(one.registration, { createdAt: T })),
  ],
  [
    'a rotation of a suspended registration',
    { outcome: 'suspended' },
    rotating((store, { id }) => store.setSuspended(id, true, SERVICE, T)),
  ],
  [
    'a rotation beside a pending one',
    { outcome: 'busy' },
    rotating((store, root) =>
      store.beginRegistrations([newRotation(root, { createdAt: T })], { owner: 'a.1', until: T + 5_000 }),
    ),
  ],
  [
    'a rotation whose predecessor is not deleted',
    { outcome: 'deleting' },
    rotating((store, root) => mint(store, newRotation(root, { createdAt: T }))),
  ],
]

/** The part of the contract about handing out pool keys. */
export function handOutContract(name: string, open: OpenTwice): void {
  test(`${name}: a registration and a rotation that take a pool key are as if they had been minted, in every record`, async (t) => {
    const [store] = await open(t)
    for (const [key, overlapMs, renewsManagement] of [
      [undefined, 0, true],
      ['k', 9_000, false],
    ] as const) {
      const [mintedOf, handedOf] = [await newTokenId(store), await newTokenId(store)]
      const idempotency = key === undefined ? null : newIdempotency(key)
      const options = { idempotency, expiresAt: T + 90_000, clientMetadata: '{}', description: 'd' }
      const minted = { ...newRegistration(mintedOf, T), ...options }
      await mint(store, minted)
      const handed = await newHandedOut(store, handedOf, options)

      const changes = { createdAt: T, overlapMs, renewsManagement, expiresAt: T + 80_000 }
      const nextKey = key === undefined ? {} : { idempotencyKey: `${key}2` }
      const mintedNext = newRotation(minted, { ...changes, ...nextKey })
      await mint(store, mintedNext)
      const next = newHandOut(await newReadyKey(store), newRotation(handed, { ...changes, ...nextKey }))
      const outcome = await handOut(store, next)
      assert.deepEqual(outcome, { outcome: 'handed_out', replaced: await existing(store, handed.id) })

      for (const [one, other] of [
        [handed, minted],
        [next.registration, mintedNext],
      ] as const) {
        const [got, expected] = [await existing(store, one.id), await existing(store, other.id)]
        const sameToken = { ...anonymous(expected), tokenId: handedOf }
        // A renewed management token replaces that of the registration.
        const renewed = { currentId: null, previousManagementHash: null }
        assert.deepEqual({ ...anonymous(got), ...renewed }, { ...sameToken, ...renewed })
        assert.equal(got.apiKeyId, apiKeyOf({ id: one.id.replace(/^reg|^rot/, 'pool') }))
      }
      const root = await existing(store, handed.id)
      assert.equal(root.currentId, next.registration.id)
      const present = renewsManagement ? next.registration.managementHash : handed.managementHash
      assert.deepEqual(Buffer.from(root.managementHash), Buffer.from(present))
      assert.equal((await store.getToken(handedOf))?.uses, 1, 'a rotation spends no use')

      const entries = await store.listAudit({ registrationId: handed.id, limit: 9 })
      assert.deepEqual(
        entries.map(({ action, detail, apiKeyId, at }) => [action, detail, apiKeyId, at]),
        [
          ['registration.rotated', FROM_THE_POOL, apiKeyOf({ id: next.poolKeyId }), T],
          ['registration.created', FROM_THE_POOL, root.apiKeyId, T],
        ],
      )
      if (key !== undefined)
        for (const [text, { id }] of [
          [key, handed],
          [`${key}2`, next.registration],
        ] as const)
          assert.equal((await store.findByIdempotencyKey(handedOf, hashSecret(text)))?.id, id)
    }
    assert.deepEqual(await store.listPoolKeys(), [], 'the keys belong to the pool no more')
  })

  test(`${name}: a record remembers that the API had accepted its key`, async (t) => {
    const [store] = await open(t)
    const tokenId = await newTokenId(store)
    const seen = await newHandedOut(store, tokenId, { seenWorking: true })
    const unseen = await newHandedOut(store, tokenId)
    assert.equal((await existing(store, seen.id)).seenWorking, true)
    assert.equal('seenWorking' in (await existing(store, unseen.id)), false)
    const [inDoubt] = await store.listInDoubt(T, 1)
    assert.equal(inDoubt?.seenWorking, inDoubt?.id === seen.id ? true : undefined)
  })

  test(`${name}: a registration that took a pool key has every further life`, async (t) => {
    const [store] = await open(t)
    const tokenId = await newTokenId(store, { maxUses: 6 })
    const idempotency = () => newIdempotency(`key ${Math.random()}`)
    const delivered = await newHandedOut(store, tokenId)
    const doubtful = await newHandedOut(store, tokenId)
    const withdrawn = await newHandedOut(store, tokenId)
    const retracted = await newHandedOut(store, tokenId, { idempotency: idempotency() })
    const revoked = await newHandedOut(store, tokenId)
    const expiring = await newHandedOut(store, tokenId, { expiresAt: T + 1_000 })
    const after = T + 2_000
    assert.equal(await store.countKeys(), 6)
    await store.markDelivered([delivered.id], T + 1)
    assert.deepEqual(
      (await store.findHeldUses(tokenId, 9)).held.map(({ registration }) => registration?.id).sort(),
      [doubtful, withdrawn, retracted, revoked, expiring].map(({ id }) => id).sort(),
    )
    assert.equal(await store.displaceUnanswered(retracted.id), false, 'it was answered')
    await store.retractAnswers([retracted.id], T)
    assert.equal((await existing(store, retracted.id)).answeredAt, null)
    assert.ok(await store.markAnswered(retracted.id, SERVICE, after))
    assert.deepEqual(await store.listRecoverable(after, 9), [])
    assert.equal(
      (await store.countWork({ now: after, answeredBy: T, expiringBy: [after] })).inDoubt,
      4,
      'the one that was delivered, and the one that was answered later, are not in doubt',
    )
    const undoing = { owner: 'a.1', until: after + 5_000 }
    assert.equal((await store.withdrawAnswers([withdrawn.id], T, undoing)).size, 1)
    const failing = { failure: 'client_closed', sweepAt: null, now: after } as const
    assert.equal(
      (await store.failRegistrations([{ id: withdrawn.id, owner: undoing.owner }], failing)).size,
      1,
    )
    assert.equal((await store.getToken(tokenId))?.uses, 5, 'its use is refunded')
    assert.equal((await store.revokeRegistration(revoked.id, SERVICE, after)).length, 1)
    assert.deepEqual(
      (await store.listDue(after, 9)).map(({ id }) => id).sort(),
      [expiring.id, revoked.id].sort(),
    )
    assert.equal((await store.startEndings([expiring.id], after)).length, 1)
    await store.finishEndings([expiring.id, revoked.id], after)
    const statuses = await store.countByStatus(after)
    assert.deepEqual(Object.fromEntries(statuses.map(({ status, count }) => [status, count])), {
      active: 3,
      expired: 1,
      failed: 1,
      revoked: 1,
    })
    assert.ok((await store.listAudit({ limit: 99 })).length > 9)
    assert.ok((await store.purgeAudit(after + 1, 99)) > 0)
    const left = (await store.listAudit({ limit: 99 })).map(({ registrationId }) => registrationId)
    for (const { id } of [delivered, doubtful, retracted]) assert.ok(left.includes(id), 'its key is alive')
    for (const { id } of [expiring, revoked]) assert.ok(!left.includes(id))
  })

  test(`${name}: a hand-out that is refused writes nothing, and leaves the key for another registration`, async (t) => {
    const [store] = await open(t)
    for (const [refusal, expected, spoil] of REFUSALS) {
      const key = await newReadyKey(store)
      const plain = newHandOut(key, newRegistration(await newTokenId(store), T))
      const one = { ...plain, ...(await spoil(store, plain)) }
      const before = await recordsOf(store)
      const token = (await store.getToken(one.registration.tokenId)) ?? null
      const outcome = expected === 'refused' ? { outcome: expected, token } : expected
      assert.deepEqual(await handOut(store, one, T + 10), outcome, refusal)
      assert.deepEqual(await recordsOf(store), before, refusal)
      const proof = one.registration.federated?.proof
      if (proof && outcome.outcome !== 'replayed') assert.equal(await store.findProof(proof.hash), undefined)
      if (LOST.some(([lost]) => lost === refusal)) continue
      const next = newHandOut(key, newRegistration(await newTokenId(store), T))
      assert.equal((await handOut(store, next)).outcome, 'handed_out', `after ${refusal}`)
    }
  })

  test(`${name}: a lost key is reported before a caller who hung up, then an expired registration, then the rest`, async (t) => {
    const [store] = await open(t)
    const tokenId = await newTokenId(store, { maxUses: 1 })
    const idempotency = newIdempotency('k')
    await mint(store, { ...newRegistration(tokenId, T), idempotency })
    const key = await newReadyKey(store)
    const refused = newHandOut(key, newRegistration(tokenId, T))
    const duplicate = { ...refused, registration: { ...refused.registration, idempotency } }
    const expired = { ...duplicate, registration: { ...duplicate.registration, expiresAt: T } }
    const notAwaited = { ...expired, isAwaited: () => false }
    const lost = { ...notAwaited, owner: BEN }
    for (const [one, outcome] of [
      [lost, 'key_lost'],
      [notAwaited, 'not_awaited'],
      [expired, 'expired'],
      [duplicate, 'duplicate'],
      [refused, 'refused'],
    ] as const)
      assert.equal((await handOut(store, one)).outcome, outcome)
  })

  test(`${name}: hand-outs of one call happen one after the other, and a refused one leaves the others alone`, async (t) => {
    const [store] = await open(t)
    assert.deepEqual(await store.handOutPoolKeys([], T), [])
    const keys = await fillPool(store, 7)
    const [once, other] = [await newTokenId(store, { maxUses: 2 }), await newTokenId(store)]
    const keyed = { ...newRegistration(other, T), idempotency: newIdempotency('k') }
    const asked = [
      newRegistration(once, T),
      keyed,
      newRegistration(once, T),
      newRegistration(once, T),
      { ...keyed, managementHash: hashSecret('again') },
      newRegistration(other, T),
      newRegistration(other, T),
    ]
    const all = keys.map((key, i) => newHandOut(key, asked[i] ?? newRegistration(other, T)))
    const [first, , , , , sixth, seventh] = all
    assert.ok(first && sixth && seventh)
    const same = { ...first, registration: { ...first.registration, tokenId: other } }
    const outcomes = await store.handOutPoolKeys(
      [...all.slice(0, 5), { ...sixth, isAwaited: () => false }, same, seventh],
      T,
    )
    assert.deepEqual(outcomesOf(outcomes), [
      ...[
        'handed_out',
        'handed_out',
        'handed_out',
        'refused',
        'duplicate',
        'not_awaited',
        'key_lost',
        'handed_out',
      ],
    ])
    assert.deepEqual([(await store.getToken(once))?.uses, (await store.getToken(other))?.uses], [2, 2])
    const left = (await store.listPoolKeys()).map(({ id, state }) => [id, state])
    assert.deepEqual(
      left.sort(),
      keys
        .slice(3, 6)
        .map(({ id }) => [id, 'ready'])
        .sort(),
    )

    const root = first.registration
    const [a, b, c] = await fillPool(store, 3)
    assert.ok(a && b && c)
    const rotations = [
      newHandOut(a, newRotation(root, { createdAt: T, overlapMs: 5_000 })),
      newHandOut(b, newRegistration(other, T)),
      newHandOut(c, newRotation(root, { createdAt: T, overlapMs: 5_000 })),
    ]
    const [one, , two] = await store.handOutPoolKeys(rotations, T)
    assert.ok(one?.outcome === 'handed_out' && two?.outcome === 'handed_out')
    assert.deepEqual([one.replaced?.id, two.replaced?.id], [root.id, rotations[0]?.registration.id])
    assert.equal((await existing(store, root.id)).currentId, rotations[2]?.registration.id)
  })

  test(`${name}: what a refused hand-out would have claimed is free for the next one of the same call`, async (t) => {
    const [store] = await open(t)
    const token = await store.putVirtualToken(newVirtualToken(), SERVICE)
    const [usedUp, other] = [await newTokenId(store, { maxUses: 0 }), await newTokenId(store)]
    const proof = newProof(T + 9_000)
    const keyed = (tokenId: string) => ({ ...newRegistration(tokenId, T), idempotency: newIdempotency('k') })
    const named = (fields: Partial<NewRegistration> = {}, own = newProof(T + 9_000)) => ({
      ...newFederated(token, { name: 'agent', proof: own }),
      createdAt: T,
      ...fields,
    })
    const gone = { isAwaited: () => false }
    const lost = { owner: BEN }
    const rows: readonly (readonly [string, (readonly [NewRegistration, Partial<HandOut>, string])[]])[] = [
      [
        'an idempotency key',
        [
          [keyed(other), lost, 'key_lost'],
          [keyed(other), gone, 'not_awaited'],
          [keyed(other), {}, 'handed_out'],
          [keyed(other), {}, 'duplicate'],
        ],
      ],
      [
        'the idempotency key of a token that is used up',
        [
          [keyed(usedUp), lost, 'key_lost'],
          [keyed(usedUp), {}, 'refused'],
          [keyed(usedUp), {}, 'refused'],
        ],
      ],
      [
        'a proof and a name',
        [
          [named({ expiresAt: T }, proof), {}, 'expired'],
          [named({}, proof), lost, 'key_lost'],
          [named({}, proof), {}, 'handed_out'],
          [named({}, proof), {}, 'replayed'],
          [named(), {}, 'name_taken'],
          [named({ name: 'other' }), {}, 'handed_out'],
        ],
      ],
    ]
    for (const [claim, all] of rows) {
      const keys = await fillPool(store, all.length)
      const handOuts = all.flatMap(([registration, overrides], i) =>
        keys.slice(i, i + 1).map((key) => newHandOut(key, registration, overrides)),
      )
      const outcomes = await store.handOutPoolKeys(handOuts, T)
      assert.deepEqual(
        outcomesOf(outcomes),
        all.map(([, , outcome]) => outcome),
        claim,
      )
    }
    const key = await newReadyKey(store)
    const twice = [
      newHandOut(key, newRegistration(other, T), gone),
      newHandOut(key, newRegistration(other, T)),
    ]
    assert.deepEqual(outcomesOf(await store.handOutPoolKeys(twice, T)), ['not_awaited', 'handed_out'])
  })

  test(`${name}: a hundred keys and more are handed out in one call, to many tokens`, async (t) => {
    const [store] = await open(t)
    const keys = await fillPool(store, 130)
    const tokens = await Promise.all(Array.from({ length: 3 }, () => newTokenId(store, { maxUses: 50 })))
    const all = keys.map((key, i) => newHandOut(key, newRegistration(tokens[i % 3] ?? '', T)))
    const outcomes = await store.handOutPoolKeys(all, T)
    assert.deepEqual(new Set(outcomesOf(outcomes)), new Set(['handed_out']))
    assert.deepEqual(await store.listPoolKeys(), [])
    assert.deepEqual(
      await Promise.all(tokens.map(async (id) => (await store.getToken(id))?.uses)),
      [44, 43, 43],
    )
    assert.equal(await store.countKeys(), 130)
  })

  test(`${name}: a federated caller's proof, name and place are claimed by the hand-out, and its rotation claims a proof`, async (t) => {
    const [store] = await open(t)
    const token = await store.putVirtualToken(newVirtualToken({ maxLive: 1 }), SERVICE)
    const [first, second] = [newProof(T + 9_000), newProof(T + 9_000)]
    const key = await newReadyKey(store)
    const one = newHandOut(key, { ...newFederated(token, { name: 'agent', proof: first }), createdAt: T })
    assert.equal((await handOut(store, one)).outcome, 'handed_out')
    assert.equal((await store.findLiveByName(token.id, 'agent'))?.id, one.registration.id)
    assert.equal((await store.getToken(token.id))?.uses, 1)
    assert.ok(await store.findProof(first.hash))

    const federated = { proof: second, holdsName: false }
    const rotation = { ...newRotation(one.registration, { createdAt: T }), federated }
    const next = newHandOut(await newReadyKey(store), rotation)
    assert.equal((await handOut(store, next)).outcome, 'handed_out')
    assert.deepEqual(await handOut(store, { ...next, ...newHandOut(await newReadyKey(store), rotation) }), {
      outcome: 'replayed',
      holder: next.registration.id,
    })
    await store.revokeRegistration(one.registration.id, SERVICE, T + 1)
    assert.equal((await store.getToken(token.id))?.uses, 0)
  })

  test(`${name}: a rotation that is handed out takes the idempotency key from one that was not answered`, async (t) => {
    const [store] = await open(t)
    const root = await newHandedOut(store, await newTokenId(store))
    const waiting = newRotation(root, { createdAt: T, idempotencyKey: 'waiting' })
    await mint(store, waiting, false)
    const next = newHandOut(await newReadyKey(store), newRotation(root, { createdAt: T + 1 }))
    const outcome = await handOut(store, next, T + 1)
    assert.ok(outcome.outcome === 'handed_out')
    assert.equal(outcome.replaced?.id, root.id)
    assert.equal(await store.markAnswered(waiting.id, SERVICE, T + 2), undefined)
    assert.deepEqual(
      (await store.listRecoverable(T + 2, 9)).map(({ id }) => id),
      [waiting.id],
    )
  })

  test(`${name}: a holder hands its keys out also after its time, until another takes them over`, async (t) => {
    const [store, other] = await open(t)
    const tokenId = await newTokenId(store)
    const [late, taken] = await fillPool(store, 2)
    assert.ok(late && taken)
    const after = T + 2 * LEASE_MS
    const one = newHandOut(late, newRegistration(tokenId, after))
    assert.equal((await handOut(store, one, after)).outcome, 'handed_out')
    await other.renewPoolHolder({ owner: BEN, until: after + LEASE_MS, sizes: {}, trouble: null })
    assert.deepEqual(await other.takePoolKeys([late.id, taken.id], BEN, after), new Set([taken.id]))
    const two = newHandOut(taken, newRegistration(tokenId, after))
    assert.equal((await handOut(store, two, after)).outcome, 'key_lost')
    assert.equal((await poolKey(store, taken))?.holder, BEN)
    assert.equal((await handOut(other, { ...two, owner: BEN }, after)).outcome, 'handed_out')
  })
}
