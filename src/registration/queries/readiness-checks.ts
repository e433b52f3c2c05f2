import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { Plan } from '../../config.ts'
import { ServiceError } from '../../errors.ts'
import type { Store } from '../../store/store.ts'
import type { StandingFaults } from '../standing-faults.ts'
import type { ReadinessCheck } from './service-readiness.ts'

/** The store can be written to. */
export const storeCheck =
  (store: Store): ReadinessCheck =>
  () =>
    store.ping()

/** Every plan exists, can be read, and has an API stage: without one its keys open nothing. */
export function planCheck(apiGateway: ApiGateway, plans: readonly Plan[]): ReadinessCheck {
  return async (signal) => {
    for (const { name, usagePlanId } of plans) {
      const { stages } = await apiGateway.describePlan(usagePlanId, signal)
      if (stages.length === 0) throw withoutStage(name)
    }
  }
}

/** No standing fault prevents registrations: those of the last minutes succeeded, or there were none. */
export function faultCheck(standingFaults: StandingFaults, plans: readonly Plan[]): ReadinessCheck {
  return () => {
    const fault = standingFaults.find(plans.map(({ usagePlanId }) => usagePlanId))
    if (fault !== undefined) throw fault
  }
}

function withoutStage(plan: string): ServiceError {
  const detail = `The usage plan of the plan "${plan}" has no API stage, so that its keys open nothing.`
  return new ServiceError('upstream_misconfigured', detail)
}
