import { setTimeout as sleep } from 'node:timers/promises'
import { randomBase62 } from '../../auth/random.ts'
import type { PoolHolder } from '../../store/pool.ts'
import { hasCome } from '../lifecycle.ts'
import { type DiscardDeps, deleteDiscarded } from './discard-keys.ts'

/**
 * Deletes the keys of a pool that no live process wants: `POOL` was removed. Ends when there are none left, or as soon as
 * another process holds the pool. A key that cannot be deleted is tried again.
 * @throws ServiceError of the store, and of API Gateway
 */
export async function cleanUpPool(deps: DiscardDeps, stop: AbortSignal): Promise<void> {
  const { store, clock, timing, log } = deps
  const owner = randomBase62(20)
  const isOther = (one: PoolHolder) => one.owner !== owner && !hasCome(one.until, clock())
  try {
    while (!stop.aborted) {
      if ((await store.listPoolHolders()).some(isOther)) return
      const keys = await store.listPoolKeys()
      if (keys.length === 0) return
      // A process that starts with a pool meanwhile waits for this one, whose sizes are smaller.
      await store.renewPoolHolder({ owner, until: clock() + timing.poolLease, sizes: {}, trouble: null })
      const taken = await store.takePoolKeys(
        keys.map(({ id }) => id),
        owner,
        clock(),
      )
      // Others may have taken over what this process took, if it stood still meanwhile: it deletes only what it discarded.
      const moved = await store.discardPoolKeys([...taken], owner, clock())
      const held = keys.filter(({ id, state }) => moved.has(id) || (taken.has(id) && state === 'discarding'))
      if (held.length > 0)
        log.info({ count: held.length }, 'deleting the keys of a pool that is not configured any more')
      await deleteDiscarded(deps, held, owner, stop)
      await sleep(timing.poolRound, undefined, { signal: stop }).catch(() => undefined)
    }
  } finally {
    await store.releasePoolHolder(owner)
  }
}
