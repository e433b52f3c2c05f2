import type { Clock } from '../../clock.ts'
import type { Log } from '../../log.ts'

/** Whether API Gateway's word on something is taken, or has proven wrong lately. */
export interface Trust {
  holds(): boolean
  /** It proved wrong: said once in the log, and not trusted for a while. */
  lose(reason: unknown): void
  /** Whether it is time to test it again; then not for a while. */
  testDue(): boolean
}

/** @param ms how long it is not trusted after it proved wrong, and the time between tests; milliseconds */
export function createCircuitBreaker(clock: Clock, ms: number, log: Log, warning: string): Trust {
  let lostUntil = Number.NEGATIVE_INFINITY
  let testAt = Number.NEGATIVE_INFINITY
  const holds = () => clock() >= lostUntil
  return {
    holds,
    lose(err) {
      if (holds()) log.warn({ err, for_seconds: ms / 1_000 }, warning)
      lostUntil = clock() + ms
    },
    testDue() {
      if (clock() < testAt) return false
      testAt = clock() + ms
      return true
    },
  }
}
