import { setTimeout as sleep } from 'node:timers/promises'
import { ServiceError } from '../errors.ts'

/** The pause between two looks grows from the first to the last value (ms). */
const FIRST_PAUSE_MS = 250
const LAST_PAUSE_MS = 2_000
const GROWTH = 1.6

/** Errors of a look after which another one may succeed. */
const PASSING = new Set(['upstream_unavailable', 'upstream_throttled'])

/** Returns the pauses between looks at a list that may show a change late, in milliseconds. They grow and never end. */
export function* growingPauses(): Generator<number, never> {
  for (let ms = FIRST_PAUSE_MS; ; ms = Math.min(ms * GROWTH, LAST_PAUSE_MS)) yield ms
}

/** Reports whether a look that failed with this error may be repeated. */
export function isPassing(error: unknown): boolean {
  return error instanceof ServiceError && PASSING.has(error.code)
}

/**
 * Looks at a list of API Gateway, with growing pauses, until it shows what `look` searches for: what a list lacks may only be
 * late.
 * @param looks the maximum number of looks
 * @returns `undefined`: it was not seen before `signal` aborted or the looks were used up
 * @throws what `look` throws
 */
export async function untilSeen<T>(
  look: () => Promise<T | undefined>,
  signal: AbortSignal,
  looks: number,
): Promise<T | undefined> {
  let left = looks
  for (const pause of growingPauses()) {
    const seen = await look()
    left -= 1
    if (seen !== undefined) return seen
    if (left === 0 || !(await pauseFor(pause, signal))) break
  }
  return undefined
}

/** Pauses. @returns `false`: `signal` aborted */
export async function pauseFor(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, undefined, { signal })
    return true
  } catch {
    return false
  }
}
