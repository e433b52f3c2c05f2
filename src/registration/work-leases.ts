import { randomBase62 } from '../auth/random.ts'
import type { Clock } from '../clock.ts'
import type { Lease } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { Timing } from './timing.ts'

/** The leases under which this process works. They are renewed while it works, and expire after it dies. */
export interface WorkLeases {
  /** Returns a lease with a new owner, with one holder. It is renewed until it has no holder. */
  hold(): Lease
  /** Adds a holder to a lease. @throws Error if the lease has no holder any more */
  keep(owner: string): void
  /** Removes a holder from a lease. Has no effect on a lease without holders. */
  drop(owner: string): void
  /**
   * Renews the leases that were last renewed more than `timing.renew` ago, or before the clock was set.
   * @throws ServiceError of the store
   */
  renew(): Promise<void>
}

export interface WorkLeasesDeps {
  readonly store: Store
  readonly clock: Clock
  readonly timing: Timing
}

export function createWorkLeases({ store, clock, timing }: WorkLeasesDeps): WorkLeases {
  /** `renewedAt`: on the clock of `performance.now()`. `until`: as in the store, on a clock that can be set. */
  const held = new Map<string, { renewedAt: number; until: number; holders: number }>()
  return {
    hold() {
      const lease = { owner: randomBase62(20), until: clock() + timing.lease }
      held.set(lease.owner, { renewedAt: performance.now(), until: lease.until, holders: 1 })
      return lease
    },
    keep(owner) {
      const lease = held.get(owner)
      if (lease === undefined) throw new Error('the lease has no holder any more')
      lease.holders += 1
    },
    drop(owner) {
      const lease = held.get(owner)
      if (lease === undefined) return
      lease.holders -= 1
      if (lease.holders === 0) held.delete(owner)
    },
    async renew() {
      const renewedAt = performance.now()
      const until = clock() + timing.lease
      // One that ends much earlier or later than if it were renewed now was taken before the clock was set.
      const due = [...held].filter(
        ([, lease]) =>
          renewedAt - lease.renewedAt > timing.renew || Math.abs(until - lease.until) > 2 * timing.renew,
      )
      if (due.length === 0) return
      await store.renewLeases(
        due.map(([owner]) => owner),
        until,
      )
      for (const [, lease] of due) Object.assign(lease, { renewedAt, until })
    },
  }
}
