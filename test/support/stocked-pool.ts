import assert from 'node:assert/strict'
import { randomBase62 } from '../../src/auth/random.ts'
import { newPoolKeyIds, poolKeyName } from '../../src/registration/key-names.ts'
import { createHandOutQueue } from '../../src/registration/pool/hand-out-queue.ts'
import { createKeyShelf, type HeldKey, type KeyShelf } from '../../src/registration/pool/held-keys.ts'
import type { Service } from './service.ts'

export interface StockedPool {
  readonly shelf: KeyShelf
  /** Makes keys that are ready, held by this process. */
  stock(count: number, seenWorking?: boolean): Promise<HeldKey[]>
}

/** Gives a service without upkeep of a pool keys that are ready: what is handed out is what the test stocked. */
export function stockedPool({ deps, gateway }: Service, plan = 'free'): StockedPool {
  const usagePlanId = deps.config.plans.find(({ name }) => name === plan)?.usagePlanId ?? ''
  const shelf = createKeyShelf({ owner: randomBase62(10), onGone: () => undefined })
  const pool = { heldKeys: shelf, levels: () => [], start: () => assert.fail('there is no upkeep') }
  Object.assign(deps, { pool, handOutQueue: createHandOutQueue({ ...deps, pool }) })
  return {
    shelf,
    async stock(count, seenWorking = true) {
      const { store, clock } = deps
      const { owner } = shelf
      await store.renewPoolHolder({ owner, until: clock() + 60_000, sizes: { [plan]: 1_000 }, trouble: null })
      const keys = newPoolKeyIds(store.id, count).map((id): HeldKey => {
        const value = randomBase62(40)
        const description = 'made beforehand'
        const key = gateway.account.createKey({
          name: poolKeyName(id, plan),
          description,
          value,
          enabled: true,
        })
        gateway.account.attach(usagePlanId, key.id)
        return { id, plan, usagePlanId, apiKeyId: key.id, value, seenWorking, createdAt: clock() }
      })
      await store.beginPoolKeys(
        keys.map(({ id, plan, usagePlanId, createdAt }) => ({ id, plan, usagePlanId, createdAt })),
        owner,
        1_000,
      )
      for (const to of ['warming', 'ready'] as const)
        await store.advancePoolKeys(
          keys.map(({ id, apiKeyId, seenWorking }) => ({ id, apiKeyId, seenWorking, to })),
          owner,
          clock(),
        )
      shelf.add(keys)
      return keys
    },
  }
}
