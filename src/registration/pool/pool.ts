import type { HeldKeys } from './held-keys.ts'

/** The keys that were made beforehand. */
export interface Pool {
  readonly heldKeys: HeldKeys
  /** Starts the upkeep: it fills the pool, checks its keys, and takes over those of processes that are gone. It runs once. */
  start(): PoolUpkeep
}

export interface PoolUpkeep {
  /** Stops the upkeep, and gives all keys up, so that another process can take them over at once. */
  stop(): Promise<void>
}
