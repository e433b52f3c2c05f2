import { randomBase62 } from '../auth/secret.ts'
import type { Clock } from '../clock.ts'
import type { Lease } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { Timing } from './timing.ts'

/** The leases under which this process works: renewed as long as it does, so that they lapse when it dies. */
export interface Leases {
  /** A lease with an owner of its own, renewed until it is dropped. */
  hold(): Lease
  /** Renews it no more. */
  drop(owner: string): void
  /** Renews what is held and nears its end. */
  renew(): Promise<void>
}

export interface LeasesDeps {
  readonly store: Store
  readonly clock: Clock
  readonly timing: Timing
}

export function createLeases({ store, clock, timing }: LeasesDeps): Leases {
  const untilByOwner = new Map<string, number>()
  return {
    hold() {
      const lease = { owner: randomBase62(20), until: clock() + timing.lease }
      untilByOwner.set(lease.owner, lease.until)
      return lease
    },
    drop: (owner) => void untilByOwner.delete(owner),
    async renew() {
      const now = clock()
      const due = [...untilByOwner].filter(([, until]) => until - now < timing.lease - timing.renew)
      if (due.length === 0) return
      const until = now + timing.lease
      const owners = due.map(([owner]) => owner)
      await store.renewLeases(owners, until)
      for (const owner of owners) if (untilByOwner.has(owner)) untilByOwner.set(owner, until)
    },
  }
}
