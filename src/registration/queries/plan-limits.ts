import { LRUCache } from 'lru-cache'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { PlanDescription, PlanLimits } from '../../aws/usage-plans.ts'
import type { Plan } from '../../config.ts'
import type { Log } from '../../log.ts'

/** The time for which a plan's limits are reused (ms), so that page views do not use up API Gateway's request quota. */
const REUSE_MS = 60_000
/** The time until the limits are read again after that failed (ms). */
const RETRY_MS = 10_000
const TIMEOUT_MS = 2_000

/** A plan of this deployment. `limits` and `stages`: `null` if they have not been read from API Gateway yet. */
export interface OfferedPlan extends Plan {
  readonly limits: PlanLimits | null
  /** The API stages that the plan covers, each as `apiId:stage`. */
  readonly stages: readonly string[] | null
}

type ReadPlan = Pick<PlanDescription, 'limits' | 'stages'>
const NOT_READ = { limits: null, stages: null }

/**
 * @returns a function that returns all plans of this deployment with their limits and API stages. They are at most a minute old; as long
 *   as API Gateway fails, they are those that were read last. It never throws.
 */
export function createPlanLimits({
  lowPriorityApiGateway,
  plans,
  log,
}: {
  lowPriorityApiGateway: ApiGateway
  plans: readonly Plan[]
  log: Log
}): () => Promise<OfferedPlan[]> {
  const cache = new LRUCache<string, ReadPlan | typeof NOT_READ>({
    max: plans.length,
    ttl: REUSE_MS,
    fetchMethod: async (usagePlanId, known, { options }) => {
      try {
        return await lowPriorityApiGateway.describePlan(usagePlanId, AbortSignal.timeout(TIMEOUT_MS))
      } catch (err) {
        log.warn({ usage_plan_id: usagePlanId, err }, 'could not read usage plan limits')
        options.ttl = RETRY_MS
        return known ?? NOT_READ
      }
    },
  })
  return () =>
    Promise.all(
      plans.map(async (plan) => {
        const { limits, stages } = (await cache.fetch(plan.usagePlanId)) ?? NOT_READ
        return { ...plan, limits, stages }
      }),
    )
}
