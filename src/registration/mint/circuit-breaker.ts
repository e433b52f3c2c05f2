import type { Log } from '../../log.ts'

/**
 * Stops relying on an operation of API Gateway for a while after its responses proved wrong. Distrust grows with each proof
 * and fades with success and time: a first wrong response leaves the breaker closed, repeated ones open it for longer and
 * longer.
 */
export interface CircuitBreaker {
  /** `true`: the operation is relied on. */
  isClosed(): boolean
  /** The distrust: 0 for none, 1 after one response that was wrong throughout. Above 0, results deserve closer checks. */
  distrust(): number
  /**
   * Notes a response that proved wrong.
   * @param weight 1 if it was wrong throughout, a fraction if it was so in part; {@link OPENS_AT} opens the breaker at once
   */
  failed(reason: unknown, weight: number): void
  /** Notes that the endpoint lacks the operation: the breaker stays open, unless the operation has worked before. */
  unsupported(reason: unknown): void
  /** Notes a response that proved right: halves the distrust. */
  worked(): void
  /** Reports whether a check of the operation is due, and schedules the next one. */
  isCheckDue(): boolean
}

/** The distrust that opens a breaker: the second response that was wrong throughout. */
export const OPENS_AT = 1.5
/** The distrust at which a breaker stays open for the longest time. It grows no further. */
const MOST = OPENS_AT + 4
/** A smaller distrust counts as none. */
const LEAST = 0.05
/** The time in which distrust halves without a success, as a multiple of the longest time that the breaker stays open. */
const HALF_LIFE = 6

export interface CircuitBreakerOptions {
  /**
   * The longest time for which the breaker stays open, and the time between two checks; milliseconds. 0: it never opens.
   */
  readonly longest: number
  readonly log: Log
  /** The log messages: a response proved wrong; the breaker opened. */
  readonly messages: { readonly failed: string; readonly opened: string }
  /** The time in milliseconds. It never goes back. */
  readonly now?: () => number
}

export function createCircuitBreaker({
  longest,
  log,
  messages,
  now = () => performance.now(),
}: CircuitBreakerOptions): CircuitBreaker {
  let distrust = 0
  let changedAt = 0
  let openUntil = Number.NEGATIVE_INFINITY
  let checkAt = Number.NEGATIVE_INFINITY
  let hasWorked = false
  const present = () => {
    const left = longest === 0 ? distrust : distrust * 0.5 ** ((now() - changedAt) / longest / HALF_LIFE)
    return left < LEAST ? 0 : left
  }
  const isClosed = () => now() >= openUntil

  function change(to: number): void {
    distrust = to
    changedAt = now()
  }

  function failed(err: unknown, weight: number): void {
    const wasClosed = isClosed()
    change(Math.min(MOST, present() + weight))
    const openMs = distrust < OPENS_AT ? 0 : longest * 2 ** (distrust - MOST)
    openUntil = Math.max(openUntil, now() + openMs)
    checkAt = Math.max(openUntil, now())
    const fields = { err, distrust, for_seconds: Math.ceil(openMs / 1_000) }
    if (openMs === 0) log.warn(fields, messages.failed)
    else if (wasClosed) log.warn(fields, messages.opened)
  }

  return {
    isClosed,
    distrust: present,
    failed,
    unsupported(err) {
      // A proxy on the way may answer like an endpoint that lacks the operation, for a while.
      if (hasWorked) return failed(err, OPENS_AT)
      if (openUntil === Number.POSITIVE_INFINITY) return
      openUntil = Number.POSITIVE_INFINITY
      log.warn({ err, for_seconds: null }, messages.opened)
    },
    worked() {
      hasWorked = true
      if (distrust > 0) change(present() / 2)
    },
    isCheckDue() {
      if (now() < checkAt) return false
      checkAt = now() + longest
      return true
    },
  }
}
