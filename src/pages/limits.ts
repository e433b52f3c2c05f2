import type { OfferedPlan } from '../registration/plan-limits.ts'

const PERIODS = { DAY: 'day', WEEK: 'week', MONTH: 'month' } as const

/** The limits of a plan as a person reads them; `null`: they are not known now. */
export function describeLimits(limits: OfferedPlan['limits']): string {
  if (limits === null) return 'Its limits cannot be told at the moment.'
  const { ratePerSecond, burst, quota } = limits
  const parts = [
    ...(ratePerSecond === null
      ? []
      : [
          burst === null
            ? `${requests(ratePerSecond)} a second`
            : `${requests(ratePerSecond)} a second, and up to ${amount(burst)} at once`,
        ]),
    ...(quota === null ? [] : [`${requests(quota.limit)} a ${PERIODS[quota.period]}`]),
  ]
  return parts.length === 0 ? 'No limit on requests.' : `${parts.join('; ')}.`
}

const amount = (count: number) => count.toLocaleString('en-US')
const requests = (count: number) => `${amount(count)} ${count === 1 ? 'request' : 'requests'}`
