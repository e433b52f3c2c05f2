import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import type { Store } from '../store/store.ts'

const WINDOW_MS = 60_000
/** The most tokens to remember that have reached the limit of their minute. */
const REMEMBERED = 10_000

/** The status of a token in the current minute. */
export interface TokenRate {
  readonly isExceeded: boolean
  readonly remaining: number
  /** Seconds until the next minute. */
  readonly ttlInSeconds: number
}

/**
 * Counts the requests of each bootstrap token, minute by minute, for all processes that share the store.
 * @returns a function that counts one request of a token with a limit of `max` a minute; it throws the ServiceErrors of
 *   the store
 */
export function createTokenRate(
  store: Store,
  clock: Clock,
): (tokenId: string, max: number) => Promise<TokenRate> {
  // A token over its limit is not counted further, so that a flood of rejected requests does not load the store.
  const usedUp = new LRUCache<string, number>({ max: REMEMBERED })
  return async (tokenId, max) => {
    const now = clock()
    const window = Math.floor(now / WINDOW_MS)
    const ttlInSeconds = Math.ceil(((window + 1) * WINDOW_MS - now) / 1_000)
    if (usedUp.get(tokenId) === window) return { isExceeded: true, remaining: 0, ttlInSeconds }
    const count = await store.countRequest(tokenId, window)
    if (count >= max) usedUp.set(tokenId, window)
    return { isExceeded: count > max, remaining: Math.max(0, max - count), ttlInSeconds }
  }
}
