import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { Clock } from '../../clock.ts'
import type { Plan } from '../../config.ts'
import type { Log } from '../../log.ts'
import type { Store } from '../../store/store.ts'

/** How long an answer is reused (ms): a probe every second must not eat the control plane's quota. */
const GOOD_FOR_MS = 10_000
const BAD_FOR_MS = 2_000
const TIMEOUT_MS = 5_000

export interface ServiceReadiness {
  /**
   * Resolves if a registration could succeed: the store can be written and every plan exists.
   * @throws ServiceError the reason why not
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

  async function look(): Promise<void> {
    await store.ping()
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    for (const { name, usagePlanId } of plans) {
      const { stages } = await apiGateway.describePlan(usagePlanId, signal)
      if (stages === 0) {
        log.warn(
          { plan: name, usage_plan_id: usagePlanId },
          'the plan covers no API stage: its keys open nothing',
        )
      }
    }
  }

  return {
    check() {
      if (latest === undefined || clock() >= reuseUntil) {
        const current = look()
        latest = current
        // While it runs everybody waits for the same look.
        reuseUntil = Number.POSITIVE_INFINITY
        current.then(
          () => {
            reuseUntil = clock() + GOOD_FOR_MS
          },
          () => {
            reuseUntil = clock() + BAD_FOR_MS
          },
        )
      }
      return latest
    },
  }
}
