import { randomBase62 } from '../auth/secret.ts'
import type { Clock } from '../clock.ts'
import type { Lease } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { Timing } from './timing.ts'

/** The leases under which this process works: renewed as long as it does, so that they lapse when it dies. */
export interface WorkLeases {
  /** A lease with an owner of its own, renewed until it is dropped. */
  hold(): Lease
  /** Another one works under it: it is dropped once for each. */
  keep(owner: string): void
  /** Renews it no more, unless others work under it. */
  drop(owner: string): void
  /** Renews what is held and nears its end. */
  renew(): Promise<void>
}

export interface WorkLeasesDeps {
  readonly store: Store
  readonly clock: Clock
  readonly timing: Timing
}

export function createWorkLeases({ store, clock, timing }: WorkLeasesDeps): WorkLeases {
  const held = new Map<string, { until: number; holders: number }>()
  return {
    hold() {
      const lease = { owner: randomBase62(20), until: clock() + timing.lease }
      held.set(lease.owner, { until: lease.until, holders: 1 })
      return lease
    },
    keep(owner) {
      const one = held.get(owner)
      if (one === undefined) throw new Error('the lease was dropped before')
      one.holders += 1
    },
    drop(owner) {
      const one = held.get(owner)
      if (one === undefined) return
      one.holders -= 1
      if (one.holders === 0) held.delete(owner)
    },
    async renew() {
      const now = clock()
      const due = [...held].filter(([, { until }]) => until - now < timing.lease - timing.renew)
      if (due.length === 0) return
      const until = now + timing.lease
      await store.renewLeases(
        due.map(([owner]) => owner),
        until,
      )
      for (const [, one] of due) one.until = until
    },
  }
}
