import type { MintMode } from '../../config.ts'
import { GROUP_SIZE } from '../../registration/key-names.ts'

/** Keys that are made together: one after the other by two calls each, or by one import. */
export interface Step {
  readonly by: 'calls' | 'import'
  readonly keys: number
}

/** The keys that are made by two calls each. */
const SINGLE_KEYS = 3
const SIZE_GROWTH = 10
/** The most keys of an import whose way to the data plane is followed. */
export const FOLLOWED_OF_AN_IMPORT = 3
/** The calls for the plans, and looks at one key in the lists. */
const OTHER_CALLS = 10
/** All keys of the account are read to find the room, what earlier runs left, and twice that nothing is left. */
const READS_OF_ALL = 4

/**
 * Returns what a run makes: a few keys by two calls each, then imports of 1, 10, 100, … up to `keys`. `MINT_MODE` may rule out one
 * of the two.
 */
export function stepsOf(mode: MintMode, keys: number): Step[] {
  const calls: Step[] = mode === 'bulk' ? [] : [{ by: 'calls', keys: Math.min(SINGLE_KEYS, keys) }]
  if (mode === 'single') return calls
  const sizes: number[] = []
  for (let size = 1; size < keys; size *= SIZE_GROWTH) sizes.push(size)
  return [...calls, ...[...sizes, keys].map((size): Step => ({ by: 'import', keys: size }))]
}

export function countKeys(steps: readonly Step[]): number {
  return steps.reduce((sum, { keys }) => sum + keys, 0)
}

/** The number of keys whose way to the data plane is followed. */
export function countFollowed(steps: readonly Step[]): number {
  const followed = ({ by, keys }: Step) => (by === 'calls' ? keys : Math.min(FOLLOWED_OF_AN_IMPORT, keys))
  return steps.reduce((sum, step) => sum + followed(step), 0)
}

/** The costs of a run, without the time that the data plane takes. */
export interface Costs {
  readonly keys: number
  readonly calls: number
  readonly seconds: number
}

/** @param callsPerSecond 0: no limit @param pages the pages of all keys of the account */
export function estimate(steps: readonly Step[], callsPerSecond: number, pages: number): Costs {
  const keys = countKeys(steps)
  const making = steps.reduce(
    (sum, { by, keys }) => sum + (by === 'calls' ? 2 * keys : 1 + 2 * Math.ceil(keys / GROUP_SIZE)),
    0,
  )
  const looks = steps.reduce((sum, { keys }) => sum + Math.ceil(keys / GROUP_SIZE), 0)
  const calls = OTHER_CALLS + READS_OF_ALL * pages + making + keys + looks
  const rate = callsPerSecond === 0 ? Number.POSITIVE_INFINITY : callsPerSecond
  // DeleteApiKey has a quota of its own: half of the rate.
  return { keys, calls, seconds: Math.ceil((calls - keys) / rate + (2 * keys) / rate) }
}
