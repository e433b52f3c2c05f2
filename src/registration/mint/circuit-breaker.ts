import type { Clock } from '../../clock.ts'
import type { Log } from '../../log.ts'

/** Stops relying on an operation of API Gateway for a while after its response proved wrong. */
export interface CircuitBreaker {
  /** `true`: the operation is relied on. */
  isClosed(): boolean
  /** Opens the breaker, after a response proved wrong. Logged once for each time that it opens. */
  open(reason: unknown): void
  /** Reports whether a check of the operation is due, and schedules the next one. */
  isCheckDue(): boolean
}

/** @param ms how long the breaker stays open, and the time between two checks; milliseconds */
export function createCircuitBreaker(clock: Clock, ms: number, log: Log, warning: string): CircuitBreaker {
  let openUntil = Number.NEGATIVE_INFINITY
  let checkAt = Number.NEGATIVE_INFINITY
  const isClosed = () => clock() >= openUntil
  return {
    isClosed,
    open(err) {
      if (isClosed()) log.warn({ err, for_seconds: ms / 1_000 }, warning)
      openUntil = clock() + ms
    },
    isCheckDue() {
      if (clock() < checkAt) return false
      checkAt = clock() + ms
      return true
    },
  }
}
