import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LONGEST_AHEAD_MS } from '../../src/registration/lifecycle.ts'
import { MOST_TROUBLE, type PoolKey, type PoolKeyAdvance } from '../../src/store/pool.ts'
import { handOutContract } from './hand-out-contract.ts'
import { handOutRacesContract } from './hand-out-races-contract.ts'
import {
  ANN,
  apiKeyOf,
  BEN,
  fillPool,
  LEASE_MS,
  newHandOut,
  newPoolKeys,
  newReadyKey,
  newTokenId,
  type OpenTwice,
  poolKey,
  T,
} from './pool-keys.ts'
import { newRegistration } from './store-contract.ts'

const statesOf = (keys: readonly PoolKey[]) => keys.map(({ state, holder }) => [state, holder])

/** The part of the contract about keys that are made beforehand, by two connections to one store. */
export function poolContract(name: string, open: OpenTwice): void {
  test(`${name}: a pool key is made, warms up, is ready, is discarded and forgotten, step by step, by its holder only`, async (t) => {
    const [store, other] = await open(t)
    const [key, second] = newPoolKeys(2)
    assert.ok(key && second)
    assert.deepEqual(await store.beginPoolKeys([second, key], ANN, 9), new Set([key.id, second.id]))
    await assert.rejects(store.beginPoolKeys([key], ANN, 9), 'ids are new')
    const { id } = key
    const found = async () => poolKey(other, key)
    const made = {
      ...key,
      state: 'making',
      apiKeyId: null,
      holder: ANN,
      seenWorking: false,
      changedAt: T,
    } as const
    assert.deepEqual(await found(), made)
    assert.deepEqual(
      (await other.listPoolKeys()).map((one) => one.id),
      [id, second.id].sort(),
      'by id, as they are of the same time',
    )

    const advance = async (owner: string, change: Partial<PoolKeyAdvance>, now: number) => {
      const whole = { id, to: 'warming', apiKeyId: 'k1', seenWorking: false, ...change } as const
      return [...(await store.advancePoolKeys([whole], owner, now))]
    }
    const toReady = { to: 'ready', seenWorking: true } as const
    assert.deepEqual(await advance(BEN, {}, T + 1), [], 'of another holder')
    assert.deepEqual(await advance(ANN, toReady, T + 1), [], 'it is not warm yet')
    assert.deepEqual(await found(), made)
    assert.deepEqual(await advance(ANN, {}, T + 1), [id])
    assert.deepEqual(await advance(ANN, {}, T + 2), [], 'it is warming already')
    const warming = { ...made, state: 'warming', apiKeyId: 'k1', changedAt: T + 1 } as const
    assert.deepEqual(await found(), warming)
    assert.deepEqual(await advance(BEN, toReady, T + 3), [])
    assert.deepEqual(await advance(ANN, { ...toReady, apiKeyId: 'k2' }, T + 3), [], 'another key')
    assert.deepEqual(await found(), warming)
    assert.deepEqual(await advance(ANN, toReady, T + 3), [id])
    const ready = { ...warming, state: 'ready', seenWorking: true, changedAt: T + 3 } as const
    assert.deepEqual(await found(), ready)

    await store.forgetPoolKeys([id], ANN)
    assert.deepEqual(await found(), ready, 'its key is not discarded')
    assert.deepEqual(await store.discardPoolKeys([id], BEN, T + 4), new Set())
    assert.deepEqual(await store.discardPoolKeys([id, 'pool_unknown'], ANN, T + 4), new Set([id]))
    assert.deepEqual(await store.discardPoolKeys([id], ANN, T + 5), new Set(), 'it is already')
    const discarding = { ...ready, state: 'discarding', changedAt: T + 4 } as const
    assert.deepEqual(await advance(ANN, {}, T + 6), [])
    assert.deepEqual(await advance(ANN, toReady, T + 6), [])
    assert.deepEqual(await found(), discarding)
    await store.forgetPoolKeys([id], BEN)
    assert.deepEqual(await found(), discarding)
    await store.forgetPoolKeys([id, second.id, 'pool_unknown'], ANN)
    assert.deepEqual(statesOf(await other.listPoolKeys()), [['making', ANN]], 'the second one')

    assert.deepEqual(await store.discardPoolKeys([second.id], ANN, T + 7), new Set([second.id]))
    assert.equal((await poolKey(other, second))?.apiKeyId, null, 'it was never known')
    await store.forgetPoolKeys([second.id], ANN)
    await store.forgetPoolKeys([second.id], ANN)
    assert.deepEqual(await other.listPoolKeys(), [])
  })

  test(`${name}: a plan has at most so many pool keys as a process allows, in whatever state`, async (t) => {
    const [store, other] = await open(t)
    const begin = async (count: number, most: number, plan = 'free', owner: string = ANN) => {
      const keys = newPoolKeys(count, { plan })
      const begun = await store.beginPoolKeys(keys, owner, most)
      assert.deepEqual(
        [...begun],
        keys.slice(0, begun.size).map(({ id }) => id),
        'the first of them',
      )
      return begun.size
    }
    assert.equal(await begin(0, 5), 0)
    assert.equal(await begin(3, 0), 0)
    assert.equal(await begin(3, 5), 3)
    assert.equal(await begin(3, 5, 'gold'), 3, 'each plan on its own')
    assert.equal(await begin(3, 5, 'free', BEN), 2, 'whoever holds them')
    assert.equal(await begin(1, 5), 0)
    assert.equal(await begin(1, 2), 0, 'the pool shrank')
    const [key] = (await store.listPoolKeys()).filter(({ plan, holder }) => plan === 'free' && holder === ANN)
    assert.ok(key)
    await store.discardPoolKeys([key.id], ANN, T)
    assert.equal(await begin(1, 5), 0, 'its key may still exist')
    await store.forgetPoolKeys([key.id], ANN)
    assert.equal(await begin(2, 5), 1)

    const gold = await newReadyKey(store, { plan: 'gold' })
    assert.equal(await begin(5, 5, 'gold'), 1)
    const asked = {
      ...newRegistration(await newTokenId(store), T),
      plan: 'gold',
      usagePlanId: gold.usagePlanId,
    }
    await store.handOutPoolKeys([newHandOut(gold, asked)], T)
    assert.equal(await begin(5, 5, 'gold'), 1, 'a key that was handed out belongs to the pool no more')
    assert.equal((await other.listPoolKeys()).length, 10)
  })

  test(`${name}: two processes that fill the pool at once never exceed its size`, async (t) => {
    const stores = await open(t)
    const batches = Array.from({ length: 8 }, () => newPoolKeys(3))
    const begun = await Promise.all(
      batches.map((keys, i) => stores[i % 2 === 0 ? 0 : 1].beginPoolKeys(keys, i % 2 === 0 ? ANN : BEN, 10)),
    )
    const recorded = (await stores[0].listPoolKeys()).map(({ id }) => id)
    assert.deepEqual(begun.flatMap((ids) => [...ids]).sort(), recorded.sort())
    assert.ok(recorded.length <= 10, `${recorded.length} keys`)
    await stores[1].beginPoolKeys(newPoolKeys(10), BEN, 10)
    assert.equal((await stores[0].listPoolKeys()).length, 10)
  })

  test(`${name}: a holder has its latest end, sizes and trouble, also after its time, until it is released`, async (t) => {
    const [store, other] = await open(t)
    assert.deepEqual(await store.listPoolHolders(), [])
    const ann = {
      owner: ANN,
      until: T + LEASE_MS,
      sizes: { free: 20, gold: 5 },
      trouble: 't'.repeat(MOST_TROUBLE),
    }
    const ben = { owner: BEN, until: T + 1, sizes: {}, trouble: null }
    await other.renewPoolHolder(ben)
    await store.renewPoolHolder(ann)
    assert.deepEqual(await store.listPoolHolders(), [ann, ben])
    const renewed = { owner: BEN, until: T + 9e6, sizes: { free: 3 }, trouble: 'none works' }
    await other.renewPoolHolder(renewed)
    assert.deepEqual(await store.listPoolHolders(), [ann, renewed], 'also those whose time is over')
    await other.renewPoolHolder({ ...ben, until: T + 2 })
    const again = (await store.listPoolHolders())[1]
    assert.equal(again?.until, T + 2, 'its clock was wrong, and is right again')
    assert.equal(again.trouble, null, 'it is over')
    for (const owner of [BEN, BEN, 'unknown']) await other.releasePoolHolder(owner)
    assert.deepEqual(await store.listPoolHolders(), [ann])
  })

  test(`${name}: keys are taken over in whatever state, from a holder that was released or whose time is over`, async (t) => {
    const [store, other] = await open(t)
    const ready = await fillPool(store, 2)
    const making = newPoolKeys(1)
    await store.beginPoolKeys(making, ANN, 9)
    const ids = [...ready, ...making].map(({ id }) => id)
    const [gone] = ids
    assert.ok(gone)
    await store.discardPoolKeys([gone], ANN, T)
    const take = async (now: number) => (await other.takePoolKeys(ids, BEN, now)).size
    const before = await store.listPoolKeys()

    assert.equal(await take(T + LEASE_MS - 1), 0, 'its time is not over')
    assert.equal(await take(T + LEASE_MS - LONGEST_AHEAD_MS), 0, 'clocks may differ so much')
    assert.deepEqual(await store.listPoolKeys(), before)
    assert.equal(await take(T + LEASE_MS), 3)
    assert.equal(await take(T + LEASE_MS), 3, 'those that it holds already')
    const after = await store.listPoolKeys()
    assert.deepEqual(
      after,
      before.map((one) => ({ ...one, holder: BEN })),
    )

    await other.renewPoolHolder({ owner: BEN, until: T + 2 * LEASE_MS, sizes: {}, trouble: null })
    assert.equal((await store.takePoolKeys(ids, ANN, T + LEASE_MS)).size, 0)
    await store.renewPoolHolder({ owner: ANN, until: T + 2 * LEASE_MS, sizes: {}, trouble: null })
    await store.givePoolKeysUp(ids, ANN)
    await store.forgetPoolKeys(ids, ANN)
    assert.equal((await store.discardPoolKeys(ids, ANN, T)).size, 0)
    assert.deepEqual(await store.listPoolKeys(), after, 'the one who lost them changes nothing')

    await other.givePoolKeysUp([gone, 'pool_unknown'], BEN)
    assert.deepEqual(await store.takePoolKeys(ids, ANN, T + LEASE_MS), new Set([gone]))
    await other.releasePoolHolder(BEN)
    assert.deepEqual((await store.listPoolKeys()).map(({ holder }) => holder).sort(), [ANN, null, null])
    assert.equal((await store.takePoolKeys(ids, ANN, T + LEASE_MS)).size, 3)
    assert.deepEqual(await store.takePoolKeys(['pool_unknown'], ANN, T), new Set())
  })

  test(`${name}: keys of a holder without a record, and of one whose clock was far ahead, are taken over`, async (t) => {
    const [store] = await open(t)
    const [unknown] = newPoolKeys(1)
    assert.ok(unknown)
    await store.beginPoolKeys([unknown], 'unknown', 9)
    const ahead = await newReadyKey(store, { owner: 'ahead', until: T + 3_600_000 })
    const near = await newReadyKey(store, { owner: 'near', until: T + LONGEST_AHEAD_MS })
    const ids = [unknown.id, ahead.id, near.id]
    assert.deepEqual(await store.takePoolKeys(ids, ANN, T), new Set([unknown.id, ahead.id]))
    assert.deepEqual(await store.takePoolKeys(ids, ANN, T - 1), new Set(ids), 'a millisecond further ahead')
  })

  test(`${name}: of two processes that take the same key, and of one that takes it and a holder that renews its time, one gets it`, async (t) => {
    const [store, other] = await open(t)
    for (let i = 0; i < 6; i++) {
      const keys = await fillPool(store, 4, { owner: 'dead' })
      const ids = keys.map(({ id }) => id)
      const [ann, ben] = await Promise.all([
        store.takePoolKeys(ids, ANN, T + LEASE_MS),
        other.takePoolKeys(ids, BEN, T + LEASE_MS),
      ])
      // Neither has a record as a holder, so what one took, the other may take from it: the last one has it.
      const held = (await store.listPoolKeys()).filter(({ id }) => ids.includes(id))
      for (const { id, holder } of held)
        assert.ok((holder === ANN ? ann : ben).has(id), `${holder} has ${id}`)
    }
    for (const owner of [ANN, BEN])
      await store.renewPoolHolder({ owner, until: T + 3 * LEASE_MS, sizes: {}, trouble: null })
    for (let i = 0; i < 6; i++) {
      const { id } = await newReadyKey(store, { owner: 'dead' })
      const taking = [ANN, BEN].map((owner, i) =>
        (i === 0 ? store : other).takePoolKeys([id], owner, T + LEASE_MS),
      )
      assert.equal((await Promise.all(taking)).filter((taken) => taken.has(id)).length, 1)
    }
    for (let i = 0; i < 6; i++) {
      const { id } = await newReadyKey(store, { owner: 'slow' })
      const renewal = { owner: 'slow', until: T + 2 * LEASE_MS, sizes: {}, trouble: null }
      const [, taken] = await Promise.all([
        store.renewPoolHolder(renewal),
        other.takePoolKeys([id], BEN, T + LEASE_MS),
      ])
      assert.equal((await poolKey(store, { id }))?.holder, taken.has(id) ? BEN : 'slow')
      const advance = { id, to: 'ready', apiKeyId: apiKeyOf({ id }), seenWorking: true } as const
      assert.equal((await store.advancePoolKeys([advance], 'slow', T)).size, 0, 'it is ready already')
      assert.equal((await store.discardPoolKeys([id], 'slow', T)).size, taken.has(id) ? 0 : 1)
    }
  })

  handOutContract(name, open)
  handOutRacesContract(name, open)
}
