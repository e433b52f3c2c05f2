/** How many registrations go into one import: learned from how long imports really take. */
export interface BatchSize {
  /** How many now. */
  limit(): number
  /** An import of `count` keys took `ms`. */
  imported(count: number, ms: number): void
  /** An import of `count` keys was refused or got no answer. */
  failed(count: number): void
  /** How long an import of full size takes, in milliseconds. */
  expectedMs(): number
}

/** A start that serves a thousand agents with one import. */
const FIRST_LIMIT = 1_000
const FIRST_EXPECTED_MS = 1_000
const LOWEST_LIMIT = 10
/** An import that is quicker than this lets the next be larger, one that is slower than twice this makes it smaller. */
const GOOD_MS = 1_500

/** @param highest the configured bound */
export function createBatchSize(highest: number): BatchSize {
  let limit = Math.min(FIRST_LIMIT, highest)
  let expectedMs = FIRST_EXPECTED_MS
  const shrink = (count: number) => {
    // A small one that fails says nothing of the size.
    if (count >= limit / 2) limit = Math.max(Math.min(LOWEST_LIMIT, highest), Math.ceil(limit / 2))
  }
  return {
    limit: () => limit,
    expectedMs: () => expectedMs,
    imported(count, ms) {
      // What small ones take says little of large ones, unless it is long.
      if (count >= limit / 2 || ms > expectedMs) expectedMs = (expectedMs + ms) / 2
      if (ms > 2 * GOOD_MS) shrink(count)
      else if (ms < GOOD_MS && count >= limit) limit = Math.min(highest, limit * 2)
    },
    failed: shrink,
  }
}
