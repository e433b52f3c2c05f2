import { randomBase62 } from '../../auth/random.ts'
import { JOBS_LEASE } from '../../store/upkeep.ts'
import type { RegistrationDeps } from '../deps.ts'

/** The right of this process to run the upkeep jobs for all processes that share the store. */
export interface LeaderLease {
  /** Takes or renews the lease. @returns `false`: another process holds it. @throws ServiceError of the store */
  isHeld(): Promise<boolean>
  /** Reports whether this process holds it now, as far as it knows: it asks nothing. */
  holds(): boolean
  /** Gives the lease back, so that another process can take it at once. @throws ServiceError of the store */
  release(): Promise<void>
}

export type LeaderLeaseDeps = Pick<RegistrationDeps, 'store' | 'clock' | 'timing'>

/** Creates the leader lease of this process, not yet taken. It expires `timing.leaderLease` after its last renewal. */
export function createLeaderLease({ store, clock, timing }: LeaderLeaseDeps): LeaderLease {
  const owner = randomBase62(20)
  /** Until then, by the monotonic clock, no other process can have taken it. A step of the clock does not extend it. */
  let heldUntil = 0
  let expiresAt = 0
  return {
    async isHeld() {
      if (performance.now() < heldUntil) return true
      const [now, startedAt] = [clock(), performance.now()]
      const lease = { owner, until: now + timing.leaderLease }
      const taken = await store.takeLeaderLease(JOBS_LEASE, lease, now)
      // Half of the time: the store is asked again well before the lease expires.
      heldUntil = taken ? startedAt + timing.leaderLease / 2 : 0
      expiresAt = taken ? startedAt + timing.leaderLease : 0
      return taken
    },
    holds: () => performance.now() < expiresAt,
    async release() {
      heldUntil = 0
      expiresAt = 0
      await store.releaseLeaderLease(JOBS_LEASE, owner)
    },
  }
}
