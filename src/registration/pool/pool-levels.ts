import type { PoolHolder, PoolKey } from '../../store/pool.ts'
import type { KeyShelf } from './held-keys.ts'
import type { PoolDeps } from './pool-deps.ts'
import { type PlanPool, reportPool } from './pool-report.ts'

/** The whole pool as this process knows it: the store as the latest round read it, and its own keys as they are now. */
export interface PoolLevels {
  /** Returns the plans of `POOL`, and others of which there are keys. Calls nothing. */
  plans(): readonly PlanPool[]
  /** Takes over what a round has read. */
  observe(keys: readonly PoolKey[], holders: readonly PoolHolder[]): void
  /** Logs once that a pool is empty, and once that it is full. Call it when keys have come or gone, and not before free ones are taken over. */
  check(): void
}

type LevelsDeps = Pick<PoolDeps, 'clock' | 'log'> & {
  readonly config: Pick<PoolDeps['config'], 'plans' | 'pool'>
}

export function createPoolLevels({ clock, log, config }: LevelsDeps, shelf: KeyShelf): PoolLevels {
  let seen = reportPool(
    [],
    [{ owner: shelf.owner, until: clock() + 1, sizes: Object.fromEntries(config.pool), trouble: null }],
    clock(),
  )
  /** The ready keys of other live holders, by plan. */
  let elsewhere: ReadonlyMap<string, number> = new Map()
  /** By plan. `some`: it has had a key, and has not been full yet. A pool that is new, or was empty, is filled: no news. */
  const latest = new Map<string, 'some' | 'full' | 'empty'>()

  const readyOf = (plan: string) => {
    const usagePlanId = config.plans.find(({ name }) => name === plan)?.usagePlanId
    const own = usagePlanId === undefined ? 0 : shelf.ready(usagePlanId)
    return own + (elsewhere.get(plan) ?? 0)
  }
  const plans = () =>
    seen.plans.map((one) => ({ ...one, counts: { ...one.counts, ready: readyOf(one.plan) } }))

  function check(): void {
    for (const { plan, size, counts } of plans()) {
      if (size === 0) continue
      const before = latest.get(plan)
      if (counts.ready >= size && before !== 'full') {
        latest.set(plan, 'full')
        log.info({ plan, size }, `the pool of plan ${plan} is full${before === 'empty' ? ' again' : ''}`)
      } else if (counts.ready === 0 && (before === 'some' || before === 'full')) {
        latest.set(plan, 'empty')
        log.warn({ plan, size }, `the pool of plan ${plan} is empty`)
      } else if (counts.ready > 0 && before === undefined) latest.set(plan, 'some')
    }
  }

  return {
    plans,
    observe(keys, holders) {
      seen = reportPool(keys, holders, clock())
      const live = new Set(seen.holders.filter(({ isLive }) => isLive).map(({ owner }) => owner))
      const others = keys.filter(
        ({ state, holder }) =>
          state === 'ready' && holder !== null && holder !== shelf.owner && live.has(holder),
      )
      elsewhere = new Map(
        [...Map.groupBy(others, ({ plan }) => plan)].map(([plan, own]) => [plan, own.length]),
      )
    },
    check,
  }
}
