/** A token bucket: `rate` a second on average, `burst` at once. */
export interface TokenBucket {
  /** Takes one token. Answers 0, or the seconds until there is one. */
  take(): number
}

export function createTokenBucket(rate: number, burst: number, now: () => number = Date.now): TokenBucket {
  let tokens = burst
  let filledAt = now()
  return {
    take() {
      const at = now()
      tokens = Math.min(burst, tokens + ((at - filledAt) / 1_000) * rate)
      filledAt = at
      if (tokens >= 1) {
        tokens -= 1
        return 0
      }
      return (1 - tokens) / rate
    },
  }
}
