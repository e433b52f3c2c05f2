import type { PlanDescription, PlanLimits } from '../../aws/usage-plans.ts'

/** A reason why no key of a usage plan opens anything, whichever API it is for. */
export interface PlanFault {
  readonly check: 'plan-stage' | 'plan-limits'
  readonly message: string
  readonly why: string
  /** The limits that are 0. */
  readonly zeros: readonly ('rate' | 'burst' | 'quota')[]
}

/**
 * Judges a usage plan by itself. The messages are also those of `/readyz`: they name the plan, and no id.
 * @param plan the name of the plan
 */
export function planFaults(plan: string, { stages, limits }: PlanDescription): PlanFault[] {
  const faults: PlanFault[] = []
  if (stages.length === 0)
    faults.push({
      check: 'plan-stage',
      message: `The usage plan of the plan "${plan}" has no API stage, so that its keys open nothing.`,
      why: 'callers get 403 Forbidden with every key of this plan',
      zeros: [],
    })
  const zeros = zeroLimits(limits)
  if (zeros.length > 0)
    faults.push({
      check: 'plan-limits',
      message: `The usage plan of the plan "${plan}" has a ${zeros.join(' and a ')} of 0, so that its keys open nothing.`,
      why: 'callers get 429 with every key of this plan',
      zeros,
    })
  return faults
}

/** Returns the names of the limits that are 0. */
export function zeroLimits(limits: Omit<PlanLimits, 'quota'> & Partial<PlanLimits>): PlanFault['zeros'] {
  return [
    ...(limits.ratePerSecond === 0 ? ['rate' as const] : []),
    ...(limits.burst === 0 ? ['burst' as const] : []),
    ...(limits.quota?.limit === 0 ? ['quota' as const] : []),
  ]
}
