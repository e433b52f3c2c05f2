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
/** An import that takes longer halves the limit. One that takes less than half of it shows how many keys take so long (ms). */
const LONGEST_MS = 3_000

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
      if (ms > LONGEST_MS) shrink(count)
      else if (ms < LONGEST_MS / 2)
        limit = Math.min(highest, Math.max(limit, Math.floor((count * LONGEST_MS) / ms)))
    },
    failed: shrink,
  }
}
