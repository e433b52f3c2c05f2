import type { FastifyRateLimitOptions, FastifyRateLimitStore } from '@fastify/rate-limit'
import { LRUCache } from 'lru-cache'

/** The most callers whose requests are counted under one limit; beyond it, those seen longest ago are forgotten. */
const MAX_CALLERS = 5_000

/**
 * Counts requests in the memory of this process, by the monotonic clock: after the clock of the machine was set back, the
 * store of the plugin would keep a caller out until that time came again.
 */
export class MonotonicStore implements FastifyRateLimitStore {
  readonly #windows = new LRUCache<string, { count: number; readonly endsAt: number }>({ max: MAX_CALLERS })

  incr(...[key, callback, windowMs]: Parameters<FastifyRateLimitStore['incr']>): void {
    const now = performance.now()
    const present = this.#windows.get(key)
    const window =
      present === undefined || present.endsAt <= now ? { count: 0, endsAt: now + windowMs } : present
    window.count += 1
    this.#windows.set(key, window)
    callback(null, { current: window.count, ttl: window.endsAt - now })
  }

  child(_options: FastifyRateLimitOptions): MonotonicStore {
    return new MonotonicStore()
  }
}
