import type { PoolDeps } from './pool-deps.ts'
import type { Refill } from './refill.ts'
import type { RoundPlan } from './share.ts'

/**
 * Creates the function that makes keys of one plan after the other. It ends early if that takes long, and the next call goes on
 * with the next plan: no plan waits for all the others.
 * @returns a function of what there is to make. It returns `true` if more can be made at once, and throws ServiceError of the store
 */
export function createFilling(refill: Pick<Refill, 'fill'>, timing: Pick<PoolDeps['timing'], 'poolRound'>) {
  let latest = ''
  return async (orders: RoundPlan['refill'], stop: AbortSignal): Promise<boolean> => {
    const end = performance.now() + timing.poolRound
    let isMoreToDo = false
    const start = orders.findIndex(({ plan }) => plan.name === latest) + 1
    for (const [i, order] of rotated(orders, start).entries()) {
      if (stop.aborted) return false
      if (i > 0 && performance.now() >= end) return true
      latest = order.plan.name
      if (await refill.fill(order, stop)) isMoreToDo = true
    }
    return isMoreToDo
  }
}

/** Returns the same values, beginning with the one at the index `start`. */
export function rotated<T>(values: readonly T[], start: number): T[] {
  return [...values.slice(start), ...values.slice(0, start)]
}
