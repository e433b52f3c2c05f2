import type { HeldKeys } from './held-keys.ts'
import type { PlanPool } from './pool-report.ts'

/** The keys that were made beforehand. */
export interface Pool {
  readonly heldKeys: HeldKeys
  /** Returns how full the pool of the whole service is, as `PoolLevels.plans`. */
  levels(): readonly PlanPool[]
  /** Starts the upkeep: it fills the pool, checks its keys, and takes over those of processes that are gone. It runs once. */
  start(): PoolUpkeep
}

export interface PoolUpkeep {
  /** Stops the upkeep, and gives all keys up, so that another process can take them over at once. */
  stop(): Promise<void>
}
