import type { Plan } from '../../config.ts'
import type { Store } from '../../store/store.ts'
import type { StandingFaults } from '../standing-faults.ts'
import type { ReadinessCheck } from './service-readiness.ts'

/** The store can be written to. */
export const storeCheck =
  (store: Store): ReadinessCheck =>
  () =>
    store.ping()

/** No standing fault prevents registrations: those of the last minutes succeeded, or there were none. */
export function faultCheck(standingFaults: StandingFaults, plans: readonly Plan[]): () => void {
  return () => {
    const fault = standingFaults.find(plans.map(({ usagePlanId }) => usagePlanId))
    if (fault !== undefined) throw fault
  }
}
