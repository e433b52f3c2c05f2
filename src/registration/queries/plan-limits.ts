import { LRUCache } from 'lru-cache'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { PlanLimits } from '../../aws/usage-plans.ts'
import type { Plan } from '../../config.ts'
import type { Log } from '../../log.ts'

/** How long what API Gateway says is reused (ms), and that it said nothing: a page must not eat the quotas. */
const GOOD_FOR_MS = 60_000
const UNKNOWN_FOR_MS = 10_000
const TIMEOUT_MS = 2_000

/** A plan as it is offered. `limits`: `null` where API Gateway does not tell them now. */
export interface OfferedPlan extends Plan {
  readonly limits: PlanLimits | null
}

/** @returns reads what every plan of this deployment allows, a minute ago at most. It never throws. */
export function createPlanLimits({
  lowPriorityApiGateway,
  plans,
  log,
}: {
  lowPriorityApiGateway: ApiGateway
  plans: readonly Plan[]
  log: Log
}): () => Promise<OfferedPlan[]> {
  const cache = new LRUCache<string, { limits: PlanLimits | null }>({
    max: plans.length,
    ttl: GOOD_FOR_MS,
    fetchMethod: async (usagePlanId, known, { options }) => {
      try {
        return await lowPriorityApiGateway.describePlan(usagePlanId, AbortSignal.timeout(TIMEOUT_MS))
      } catch (err) {
        log.warn({ usage_plan_id: usagePlanId, err }, 'could not read the limits of a plan')
        options.ttl = UNKNOWN_FOR_MS
        return known ?? { limits: null }
      }
    },
  })
  return () =>
    Promise.all(
      plans.map(async (plan) => ({
        ...plan,
        limits: (await cache.fetch(plan.usagePlanId))?.limits ?? null,
      })),
    )
}
