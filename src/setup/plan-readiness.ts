import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Plan } from '../config.ts'
import { ServiceError } from '../errors.ts'
import { planFaults } from './checks/plan-limits.ts'

/**
 * Returns a check of readiness: every plan exists, can be read, and has no fault that keeps all of its keys from working. Its
 * messages are those of doctor.
 */
export function planReadiness(
  apiGateway: Pick<ApiGateway, 'describePlan'>,
  plans: readonly Plan[],
): (signal: AbortSignal) => Promise<void> {
  return async (signal) => {
    for (const { name, usagePlanId } of plans) {
      const [fault] = planFaults(name, await apiGateway.describePlan(usagePlanId, signal))
      if (fault !== undefined) throw new ServiceError('upstream_misconfigured', fault.message)
    }
  }
}
