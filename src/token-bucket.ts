/** A token bucket: `rate` a second on average, `burst` at once. */
export interface TokenBucket {
  /** Seconds until there is a token; 0: there is one now. */
  wait(): number
  /** Takes one token if there is one. Answers 0, or as {@link wait}. */
  take(): number
  /** Tokens there are now. */
  level(): number
  /** Throws all tokens away. */
  empty(): void
}

/** @param now milliseconds of any clock */
export function createTokenBucket(rate: number, burst: number, now: () => number = Date.now): TokenBucket {
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
