/** The number of keys in one import, adapted to how long imports take. */
export interface BatchSize {
  /** The present limit. */
  limit(): number
  /** Notes that an import of `count` keys took `ms` milliseconds. */
  imported(count: number, ms: number): void
  /** Notes that an import of `count` keys was rejected or got no response. */
  failed(count: number): void
  /** The expected duration of an import of full size, in milliseconds. */
  expectedMs(): number
}

/** The first limit lets one import serve a thousand agents. */
const FIRST_LIMIT = 1_000
const FIRST_EXPECTED_MS = 1_000
const LOWEST_LIMIT = 10
/** A full import that is faster doubles the limit; one that takes more than twice as long halves it. */
const GOOD_MS = 1_500

/** @param highest the configured maximum */
export function createBatchSize(highest: number): BatchSize {
  let limit = Math.min(FIRST_LIMIT, highest)
  let expectedMs = FIRST_EXPECTED_MS
  const shrink = (count: number) => {
    // The failure of a small import says nothing about the limit.
    if (count >= limit / 2) limit = Math.max(Math.min(LOWEST_LIMIT, highest), Math.ceil(limit / 2))
  }
  return {
    limit: () => limit,
    expectedMs: () => expectedMs,
    imported(count, ms) {
      // The duration of a small import says little about large ones, unless it is long.
      if (count >= limit / 2 || ms > expectedMs) expectedMs = (expectedMs + ms) / 2
      if (ms > 2 * GOOD_MS) shrink(count)
      else if (ms < GOOD_MS && count >= limit) limit = Math.min(highest, limit * 2)
    },
    failed: shrink,
  }
}
