/** A condition of a registration that succeeds. @throws ServiceError the reason why none can succeed now */
export type ReadinessCheck = (signal: AbortSignal) => void | Promise<void>

/** The time for which a result is reused (ms): checks every second must not use up the control plane's quota. */
const REUSE_SUCCESS_MS = 10_000
const REUSE_FAILURE_MS = 2_000
const TIMEOUT_MS = 5_000

export interface ServiceReadiness {
  /**
   * Checks that a registration can succeed. The result of the checks that call the store or API Gateway may be up to 10
   * seconds old.
   * @throws ServiceError the reason if it cannot
   */
  check(): Promise<void>
  /** Reports whether the latest {@link check} succeeded, and what this process knows has not changed since. Calls nothing. */
  succeeded(): boolean
}

export interface ServiceReadinessDeps {
  /** Checks of what this process knows already. They are made each time. */
  readonly known: readonly (() => void)[]
  /** Checks that call the store or API Gateway. Their result is reused. */
  readonly asked: readonly ReadinessCheck[]
  /** The time in milliseconds. It never goes back. */
  readonly now?: () => number
}

/** Creates the readiness of the service: each list of checks is made in its order, the first failure is the result. */
export function createServiceReadiness({
  known,
  asked,
  now = () => performance.now(),
}: ServiceReadinessDeps): ServiceReadiness {
  let latest: Promise<void> | undefined
  let reuseUntil = 0
  let hasSucceeded = false

  function askOnce(): Promise<void> {
    if (latest === undefined || now() >= reuseUntil) {
      const current = inOrder(asked)
      latest = current
      // Until it ends, all requests share this check.
      reuseUntil = Number.POSITIVE_INFINITY
      current.then(
        () => {
          hasSucceeded = true
          reuseUntil = now() + REUSE_SUCCESS_MS
        },
        () => {
          hasSucceeded = false
          reuseUntil = now() + REUSE_FAILURE_MS
        },
      )
    }
    return latest
  }

  return {
    async check() {
      await askOnce()
      for (const check of known) check()
    },
    succeeded() {
      if (!hasSucceeded) return false
      try {
        for (const check of known) check()
        return true
      } catch {
        return false
      }
    },
  }
}

async function inOrder(checks: readonly ReadinessCheck[]): Promise<void> {
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  for (const check of checks) await check(signal)
}
