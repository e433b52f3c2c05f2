import { POOL_KEY_STATES, type PoolHolder, type PoolKey, type PoolKeyState } from '../../store/pool.ts'
import { hasCome } from '../lifecycle.ts'

/** The keys of one plan that are made beforehand. */
export interface PlanPool {
  readonly plan: string
  /** The number that all live holders want. */
  readonly size: number
  readonly counts: Readonly<Record<PoolKeyState, number>>
  /** The keys that no live holder has: the next round takes them over, or deletes them. */
  readonly unheld: number
  /** The creation of the oldest and the newest key; `null`: there is none. */
  readonly oldest: number | null
  readonly newest: number | null
}

/** A process that holds keys of the pool, or did before it ended. */
export interface HolderReport extends PoolHolder {
  /** Its time is not over. */
  readonly isLive: boolean
  readonly keys: number
}

export interface PoolReport {
  /** By name: every plan of which there are keys, or of which a live holder wants some. */
  readonly plans: readonly PlanPool[]
  readonly holders: readonly HolderReport[]
}

/** Returns the size of a plan's pool: the smallest that a live holder wants. Without a holder it is 0. */
export function poolSize(plan: string, live: readonly PoolHolder[]): number {
  const wanted = live.map(({ sizes }) => (Object.hasOwn(sizes, plan) ? (sizes[plan] ?? 0) : 0))
  return wanted.length === 0 ? 0 : Math.min(...wanted)
}

/** Sums up what the store knows of the pool. */
export function reportPool(
  keys: readonly PoolKey[],
  holders: readonly PoolHolder[],
  now: number,
): PoolReport {
  const live = holders.filter(({ until }) => !hasCome(until, now))
  const owners = new Set(live.map(({ owner }) => owner))
  const names = new Set([...live.flatMap(({ sizes }) => Object.keys(sizes)), ...keys.map(({ plan }) => plan)])
  return {
    plans: [...names].sort().map((plan) => {
      const own = keys.filter((key) => key.plan === plan)
      const made = own.map(({ createdAt }) => createdAt).sort((a, b) => a - b)
      const countOf = (state: PoolKeyState) => own.filter((key) => key.state === state).length
      return {
        plan,
        size: poolSize(plan, live),
        counts: Object.fromEntries(
          POOL_KEY_STATES.map((state) => [state, countOf(state)]),
        ) as PlanPool['counts'],
        unheld: own.filter(({ holder }) => holder === null || !owners.has(holder)).length,
        oldest: made[0] ?? null,
        newest: made.at(-1) ?? null,
      }
    }),
    holders: holders.map((holder) => ({
      ...holder,
      isLive: owners.has(holder.owner),
      keys: keys.filter((key) => key.holder === holder.owner).length,
    })),
  }
}

/** Returns the plans that have a pool without a key to hand out. */
export function emptyPools({ plans }: PoolReport): string[] {
  return plans.filter(({ size, counts }) => size > 0 && counts.ready === 0).map(({ plan }) => plan)
}
