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
 * Looks at a list of API Gateway until it shows what `look` searches for: what a list lacks may only be late. The pauses
 * grow. A look that fails with a passing error is repeated.
 * @param looks the maximum number of looks
 * @returns `undefined`: it was not seen before `signal` aborted or the looks were used up
 * @throws what `look` throws, if it does not pass or was thrown by the last look
 */
export async function untilSeen<T>(
  look: () => Promise<T | undefined>,
  signal: AbortSignal,
  looks = Number.POSITIVE_INFINITY,
): Promise<T | undefined> {
  let made = 0
  for (const pause of growingPauses()) {
    made += 1
    try {
      const seen = await look()
      if (seen !== undefined) return seen
    } catch (error) {
      if (!isPassing(error) || made >= looks || signal.aborted) throw error
    }
    if (made >= looks || !(await pauseFor(pause, signal))) break
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
