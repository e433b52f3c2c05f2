import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import type { Store } from '../store/store.ts'

const WINDOW_MS = 60_000
/** How many tokens are remembered that have used up their minute. */
const REMEMBERED = 10_000

/** Where a token stands in its minute. */
export interface TokenRate {
  readonly isExceeded: boolean
  readonly remaining: number
  /** Seconds until the next minute. */
  readonly ttlInSeconds: number
}

/**
 * Counts requests with bootstrap tokens, minute by minute, in all processes that share the store.
 * @returns counts a request of a token that may make `max` a minute. It throws ServiceError of the store.
 */
export function createTokenRate(
  store: Store,
  clock: Clock,
): (tokenId: string, max: number) => Promise<TokenRate> {
  // Who is over need not be counted on: a flood of refusals costs the store nothing.
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
