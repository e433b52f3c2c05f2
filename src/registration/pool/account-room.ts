import { abortAfter } from '../../abort-after.ts'
import { KEY_QUOTA } from '../../key-quota.ts'
import type { PoolDeps } from './pool-deps.ts'

/** The room for the pool in the account, which has a quota of keys. */
export interface AccountRoom {
  /** Returns the sizes of `POOL`, cut to what the account has room for, by the plan's name. */
  sizes(): Record<string, number>
  /** Returns that the sizes are cut, for the operator, if they are. */
  troubles(): string[]
  /** Counts the keys of the account, if that is due or under way. Never throws: after a failure the last count stays. */
  refresh(signal: AbortSignal): Promise<void>
  /** Notes that the account has no room for another key. @throws ServiceError of the store */
  isUsedUp(): Promise<void>
}

export type RoomDeps = Pick<PoolDeps, 'store' | 'lowPriorityApiGateway' | 'timing' | 'log'> & {
  readonly config: Pick<PoolDeps['config'], 'pool'>
}

/** The pool may have this part of the room in the account: the rest is for registrations beyond it. */
const SHARE = 1 / 2
const shareOf = (free: number) => Math.max(0, Math.floor(free * SHARE))
const TOO_MUCH = 'POOL asks for more than half of the room in the account'
/** The longest time for which the keys of the account are counted (ms): 20 pages, on what registrations leave of the quota. */
const COUNT_TIMEOUT_MS = 60_000
/** The same before the start. */
const START_TIMEOUT_MS = 10_000
/** The time after which a count that failed is repeated (ms). */
const RETRY_MS = 60_000

const sumOf = (sizes: ReadonlyMap<string, number>) => [...sizes.values()].reduce((sum, size) => sum + size, 0)

export function createAccountRoom({
  store,
  lowPriorityApiGateway,
  timing,
  log,
  config,
}: RoomDeps): AccountRoom {
  const wanted = sumOf(config.pool)
  let most = Number.POSITIVE_INFINITY
  let countAt = 0
  let counting: Promise<void> | null = null

  function sizes(): Record<string, number> {
    const part = Math.min(1, most / wanted)
    return Object.fromEntries([...config.pool].map(([plan, size]) => [plan, Math.floor(size * part)]))
  }

  /** @param free the keys that the account has room for, those of the pool included */
  function limitTo(free: number): void {
    const before = Math.min(most, wanted)
    most = shareOf(free)
    const now = Math.min(most, wanted)
    if (now === before) return
    const fields = {
      pool: sizes(),
      wanted: Object.fromEntries(config.pool),
      room: free,
      key_quota: KEY_QUOTA,
    }
    if (now < wanted) log.warn(fields, `${TOO_MUCH}: the pool is smaller`)
    else log.info(fields, 'the account has room again: the pool has the size of POOL')
  }

  async function count(signal: AbortSignal): Promise<void> {
    const limit = abortAfter(COUNT_TIMEOUT_MS)
    try {
      const own = await store.listPoolKeys()
      const counted = await lowPriorityApiGateway.countKeys(AbortSignal.any([signal, limit.signal]))
      countAt = performance.now() + (counted.isComplete ? timing.countAccount : RETRY_MS)
      if (counted.isComplete) limitTo(KEY_QUOTA - counted.count + own.length)
    } catch (err) {
      countAt = performance.now() + RETRY_MS
      if (!signal.aborted)
        log.warn({ err }, 'could not count the keys of the account for the pool; will retry')
    } finally {
      limit.cancel()
    }
  }

  return {
    sizes,
    troubles: () => (most < wanted ? [`${TOO_MUCH}: ${most} keys in place of ${wanted}`] : []),
    async refresh(signal) {
      if (counting === null && performance.now() >= countAt)
        counting = count(signal).finally(() => {
          counting = null
        })
      await counting
    },
    async isUsedUp() {
      limitTo((await store.listPoolKeys()).length)
      countAt = performance.now() + timing.countAccount
    },
  }
}

/**
 * Checks that the account has room for the pool. A count that fails, or that takes too long, says nothing.
 * @throws Error with the figures if it has not
 */
export async function requireRoom({ store, lowPriorityApiGateway, log, config }: RoomDeps): Promise<void> {
  const limit = abortAfter(START_TIMEOUT_MS)
  let count = 0
  let own = 0
  try {
    own = (await store.listPoolKeys()).length
    ;({ count } = await lowPriorityApiGateway.countKeys(limit.signal))
  } catch (err) {
    log.warn({ err }, 'could not count the keys of the account for the pool')
    return
  } finally {
    limit.cancel()
  }
  const [wanted, room] = [sumOf(config.pool), Math.max(0, KEY_QUOTA - count)]
  if (wanted - own <= room) return
  const plans = [...config.pool].map(([plan, size]) => `${plan}:${size}`).join(',')
  throw new Error(
    `POOL=${plans} asks for ${wanted} keys, of which ${own} exist, and the account has room for ${room} more: it has ${count} of ` +
      `the ${KEY_QUOTA} keys that it can have in a Region\n  The pool may have half of that room: ask for at most ${shareOf(room + own)} keys in POOL, or delete keys that are not needed.`,
  )
}
