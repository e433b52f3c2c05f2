import { randomBase62 } from '../../auth/secret.ts'
import type { RegistrationDeps } from '../deps.ts'

/** Work that one process does for all that share the store, until it stops or dies. */
export interface Duty {
  /** Whether this process does it, for now: takes it where nobody has it, and keeps it. */
  isMine(): Promise<boolean>
  /** Leaves it to another process at once. */
  leave(): Promise<void>
}

export type DutyDeps = Pick<RegistrationDeps, 'store' | 'clock' | 'timing'>

/** @param name tells this work from other work in the store */
export function createDuty({ store, clock, timing }: DutyDeps, name: string): Duty {
  const owner = randomBase62(20)
  let until = 0
  return {
    async isMine() {
      const now = clock()
      // As long as half of the time is left nobody else can have taken it, and the store need not be asked.
      if (until - now > timing.duty / 2 && until - now <= timing.duty) return true
      const lease = { owner, until: now + timing.duty }
      const taken = await store.takeLeaderLease(name, lease, now)
      until = taken ? lease.until : 0
      return taken
    },
    async leave() {
      until = 0
      await store.releaseLeaderLease(name, owner)
    },
  }
}
