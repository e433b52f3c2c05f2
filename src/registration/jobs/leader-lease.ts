import { randomBase62 } from '../../auth/random.ts'
import { JOBS_LEASE } from '../../store/upkeep.ts'
import type { RegistrationDeps } from '../deps.ts'

/** The right of this process to run the upkeep jobs for all processes that share the store. */
export interface LeaderLease {
  /** Takes or renews the lease. @returns `false`: another process holds it. @throws ServiceError of the store */
  isHeld(): Promise<boolean>
  /** Gives the lease back, so that another process can take it at once. @throws ServiceError of the store */
  release(): Promise<void>
}

export type LeaderLeaseDeps = Pick<RegistrationDeps, 'store' | 'clock' | 'timing'>

/** Creates the leader lease of this process, not yet taken. It expires `timing.leaderLease` after its last renewal. */
export function createLeaderLease({ store, clock, timing }: LeaderLeaseDeps): LeaderLease {
  const owner = randomBase62(20)
  let until = 0
  return {
    async isHeld() {
      const now = clock()
      // While half of the time is left, no other process can have taken it, and the store need not be asked.
      if (until - now > timing.leaderLease / 2 && until - now <= timing.leaderLease) return true
      const lease = { owner, until: now + timing.leaderLease }
      const taken = await store.takeLeaderLease(JOBS_LEASE, lease, now)
      until = taken ? lease.until : 0
      return taken
    },
    async release() {
      until = 0
      await store.releaseLeaderLease(JOBS_LEASE, owner)
    },
  }
}
