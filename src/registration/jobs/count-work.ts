import { DAY_MS } from '../../clock.ts'
import type { Meter, WorkInStore } from '../../meter.ts'
import type { RegistrationDeps } from '../deps.ts'
import type { LeaderLease } from './leader-lease.ts'

/** The days within which keys expire that are counted. */
const EXPIRING_DAYS = [1, 7] as const
/** The longest time for which the keys of the account are counted (ms): 20 pages, on what registrations leave of the quota. */
const COUNT_TIMEOUT_MS = 60_000

type CountDeps = Pick<RegistrationDeps, 'store' | 'clock' | 'timing' | 'lowPriorityApiGateway'>

/**
 * Creates the job that counts the work in the store and, less often, the keys of the account, while this process is the leader.
 * A count that fails leaves no value: an old one would hide that. The next round repeats it.
 */
export function countWork(
  { store, clock, timing, lowPriorityApiGateway }: CountDeps,
  meter: Meter,
  leaderLease: LeaderLease,
  stop: AbortSignal,
): () => Promise<void> {
  let accountKeys: number | null = null
  let countAccountAt = 0

  async function countAccount(): Promise<void> {
    if (performance.now() < countAccountAt) return
    accountKeys = null
    const signal = AbortSignal.any([stop, AbortSignal.timeout(COUNT_TIMEOUT_MS)])
    try {
      const { count, isComplete } = await lowPriorityApiGateway.countKeys(signal)
      if (!isComplete) return
      accountKeys = count
      countAccountAt = performance.now() + timing.countAccount
    } catch (error) {
      if (!stop.aborted) throw error
    }
  }

  async function countStore(): Promise<Omit<WorkInStore, 'accountKeys'>> {
    const now = clock()
    const expiringBy = EXPIRING_DAYS.map((days) => now + days * DAY_MS)
    const work = await store.countWork({ now, answeredBy: now - timing.inDoubtAfter, expiringBy })
    return { ...work, expiring: EXPIRING_DAYS.map((days, i) => ({ days, count: work.expiring[i] ?? 0 })) }
  }

  return async () => {
    let work: Omit<WorkInStore, 'accountKeys'> | null = null
    try {
      if (!(await leaderLease.isHeld())) {
        accountKeys = null
        countAccountAt = 0
        return
      }
      work = await countStore()
      meter.counted({ ...work, accountKeys })
      await countAccount()
    } finally {
      meter.counted(work && leaderLease.holds() ? { ...work, accountKeys } : null)
    }
  }
}
