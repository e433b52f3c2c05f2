import type { HeldKeys } from './held-keys.ts'

/** The keys that were made beforehand. */
export interface Pool {
  readonly heldKeys: HeldKeys
}
