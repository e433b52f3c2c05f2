import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { Clock } from '../../clock.ts'
import type { Plan } from '../../config.ts'
import type { Log } from '../../log.ts'
import type { Store } from '../../store/store.ts'

/** The time for which a result is reused (ms): checks every second must not use up the control plane's quota. */
const REUSE_SUCCESS_MS = 10_000
const REUSE_FAILURE_MS = 2_000
const TIMEOUT_MS = 5_000

export interface ServiceReadiness {
  /**
   * Checks that a registration can succeed: the store can be written to, and every plan exists. The result may be up to
   * 10 seconds old.
   * @throws ServiceError the reason if it cannot
   */
  check(): Promise<void>
}

export interface ServiceReadinessDeps {
  readonly store: Store
  readonly apiGateway: ApiGateway
  readonly clock: Clock
  readonly plans: readonly Plan[]
  readonly log: Log
}

export function createServiceReadiness({
  store,
  apiGateway,
  clock,
  plans,
  log,
}: ServiceReadinessDeps): ServiceReadiness {
  let latest: Promise<void> | undefined
  let reuseUntil = 0

  async function checkNow(): Promise<void> {
    await store.ping()
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    for (const { name, usagePlanId } of plans) {
      const { stages } = await apiGateway.describePlan(usagePlanId, signal)
      if (stages === 0) {
        log.warn(
          { plan: name, usage_plan_id: usagePlanId },
          'usage plan has no API stage, so its keys give access to nothing: add a stage to it',
        )
      }
    }
  }

  return {
    check() {
      if (latest === undefined || clock() >= reuseUntil) {
        const current = checkNow()
        latest = current
        // Until it ends, all requests share this check.
        reuseUntil = Number.POSITIVE_INFINITY
        current.then(
          () => {
            reuseUntil = clock() + REUSE_SUCCESS_MS
          },
          () => {
            reuseUntil = clock() + REUSE_FAILURE_MS
          },
        )
      }
      return latest
    },
  }
}
