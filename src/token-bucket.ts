/** A token bucket: it gains `rate` tokens a second and holds at most `burst`. */
export interface TokenBucket {
  /** Returns the seconds until a token is available; 0 if there is one now. */
  wait(): number
  /** Takes a token if one is available and returns 0; otherwise takes none and returns the same as {@link wait}. */
  take(): number
  /** Returns the number of tokens available now; it may be fractional. */
  level(): number
  /** Removes all tokens. */
  empty(): void
}

/** Creates a full token bucket. */
export function createTokenBucket(rate: number, burst: number): TokenBucket {
  const now = () => performance.now()
  let tokens = burst
  let filledAt = now()
  const level = () => {
    const at = now()
    tokens = Math.min(burst, tokens + (Math.max(0, at - filledAt) / 1_000) * rate)
    filledAt = at
    return tokens
  }
  const wait = () => Math.max(0, (1 - level()) / rate)
  return {
    level,
    wait,
    take() {
      const seconds = wait()
      if (seconds === 0) tokens -= 1
      return seconds
    },
    empty() {
      level()
      tokens = 0
    },
  }
}
