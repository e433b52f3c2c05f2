import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SERVICE } from '../../src/store/audit.ts'
import {
  ANN,
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
  T,
} from './pool-keys.ts'
import { newIdempotency, newRegistration, newRotation } from './store-contract.ts'

/** Each race is run so often, with both orders of the calls. */
const ROUNDS = 6

/** The part of the contract about two processes that change the same pool key, token or registration at once. */
export function handOutRacesContract(name: string, open: OpenTwice): void {
  test(`${name}: of two hand-outs of the same key, one gets it`, async (t) => {
    const [store, other] = await open(t)
    const tokenId = await newTokenId(store)
    for (let i = 0; i < ROUNDS; i++) {
      const key = await newReadyKey(store)
      const outcomes = await Promise.all(
        [store, other, store].map((one) => handOut(one, newHandOut(key, newRegistration(tokenId, T)))),
      )
      assert.deepEqual(outcomes.map(({ outcome }) => outcome).sort(), ['handed_out', 'key_lost', 'key_lost'])
    }
    assert.equal((await store.getToken(tokenId))?.uses, ROUNDS)
  })

  test(`${name}: of two hand-outs with the same idempotency key, one registers, and the other's key stays ready`, async (t) => {
    const [store, other] = await open(t)
    const tokenId = await newTokenId(store)
    for (let i = 0; i < ROUNDS; i++) {
      const idempotency = newIdempotency(`key ${i}`)
      const keys = await fillPool(store, 2)
      const outcomes = await Promise.all(
        keys.map((key, at) =>
          handOut(at === 0 ? store : other, newHandOut(key, { ...newRegistration(tokenId, T), idempotency })),
        ),
      )
      const of = outcomes.map(({ outcome }) => outcome)
      assert.deepEqual([...of].sort(), ['duplicate', 'handed_out'])
      const left = keys[of.indexOf('duplicate')]
      assert.ok(left)
      assert.equal((await poolKey(store, left))?.state, 'ready')
    }
    assert.equal((await store.getToken(tokenId))?.uses, ROUNDS)
  })

  test(`${name}: hand-outs and registrations that are minted never spend more uses than a token has`, async (t) => {
    const stores = await open(t)
    const [store] = stores
    const tokenId = await newTokenId(store, { maxUses: 5 })
    const keys = await fillPool(store, 8)
    const outcomes = await Promise.all(
      keys.flatMap((key, i) => {
        const one = stores[i % 2 === 0 ? 0 : 1]
        const minted = one.beginRegistrations([newRegistration(tokenId, T)], {
          owner: 'a.1',
          until: T + 5_000,
        })
        return [handOut(one, newHandOut(key, newRegistration(tokenId, T))), minted.then(([first]) => first)]
      }),
    )
    const spent = outcomes.filter((one) => one?.outcome === 'handed_out' || one?.outcome === 'begun')
    assert.equal(spent.length, 5)
    assert.equal((await store.getToken(tokenId))?.uses, 5)
    const handedOut = outcomes.filter((one) => one?.outcome === 'handed_out').length
    assert.equal((await store.listPoolKeys()).length, 8 - handedOut)
  })

  test(`${name}: of a hand-out and a take-over, a release or a discarding of its key, one wins`, async (t) => {
    const [store, other] = await open(t)
    const tokenId = await newTokenId(store)
    await other.renewPoolHolder({ owner: BEN, until: T + 2 * LEASE_MS, sizes: {}, trouble: null })
    const rivals = {
      'a take-over': (id: string) => other.takePoolKeys([id], BEN, T + LEASE_MS),
      'a release': () => other.releasePoolHolder(ANN),
      'a discarding': (id: string) => other.discardPoolKeys([id], ANN, T),
    }
    for (const [rival, run] of Object.entries(rivals))
      for (let i = 0; i < ROUNDS; i++) {
        const key = await newReadyKey(store)
        const one = newHandOut(key, newRegistration(tokenId, T))
        const running = i % 2 === 0 ? run(key.id) : undefined
        const [{ outcome }, changed] = await Promise.all([handOut(store, one), running ?? run(key.id)])
        const record = await poolKey(store, key)
        const registration = await store.getRegistration(one.registration.id)
        if (outcome === 'handed_out') {
          assert.equal(record, undefined, rival)
          assert.equal(registration?.status, 'active')
          if (changed !== undefined) assert.equal(changed.size, 0, rival)
        } else {
          assert.equal(outcome, 'key_lost', rival)
          assert.equal(registration, undefined, rival)
          assert.ok(record !== undefined && (record.holder !== ANN || record.state === 'discarding'), rival)
        }
      }
  })

  test(`${name}: of a hand-out and the revocation of its token, the first wins`, async (t) => {
    const [store, other] = await open(t)
    for (let i = 0; i < ROUNDS; i++) {
      const tokenId = await newTokenId(store)
      const one = newHandOut(await newReadyKey(store), newRegistration(tokenId, T))
      const revoking = i % 2 === 0 ? other.revokeToken(tokenId, SERVICE, T) : undefined
      const [{ outcome }] = await Promise.all([
        handOut(store, one),
        revoking ?? other.revokeToken(tokenId, SERVICE, T),
      ])
      const uses = (await store.getToken(tokenId))?.uses
      if (outcome === 'handed_out') assert.equal(uses, 1)
      else assert.deepEqual([outcome, uses], ['refused', 0])
      const later = newHandOut(await newReadyKey(store), newRegistration(tokenId, T))
      assert.equal((await handOut(store, later)).outcome, 'refused')
    }
  })

  test(`${name}: of a rotation that is handed out and the end or suspension of its registration, neither misses the other`, async (t) => {
    const [store, other] = await open(t)
    for (let i = 0; i < 2 * ROUNDS; i++) {
      const root = await newHandedOut(store, await newTokenId(store))
      const isRevoked = i % 2 === 0
      const next = newHandOut(
        await newReadyKey(store),
        newRotation(root, { createdAt: T, overlapMs: LEASE_MS }),
      )
      const [{ outcome }] = await Promise.all([
        handOut(store, next),
        isRevoked
          ? other.revokeRegistration(root.id, SERVICE, T)
          : other.setSuspended(root.id, true, SERVICE, T),
      ])
      const rotation = await store.getRegistration(next.registration.id)
      if (outcome === 'handed_out')
        assert.ok(isRevoked ? rotation?.status === 'ending' : rotation?.suspendedAt === T)
      else assert.deepEqual([outcome, rotation], [isRevoked ? 'ended' : 'suspended', undefined])
    }
  })

  test(`${name}: of rotations of one registration that are handed out at once, each replaces the one before it, or is refused`, async (t) => {
    const [store, other] = await open(t)
    const root = await newHandedOut(store, await newTokenId(store))
    const keys = await fillPool(store, 4)
    const outcomes = await Promise.all(
      keys.map((key, i) =>
        handOut(i % 2 === 0 ? store : other, newHandOut(key, newRotation(root, { createdAt: T }))),
      ),
    )
    const [first, ...more] = outcomes.filter(({ outcome }) => outcome === 'handed_out')
    assert.ok(first && more.length === 0, 'the replaced key is to be deleted before the next rotation')
    for (const { outcome } of outcomes) assert.match(outcome, /^(handed_out|deleting|busy)$/)
    assert.equal((await store.listPoolKeys()).length, 3)
    assert.equal((await store.listRotations(root.id)).length, 1)
  })
}
