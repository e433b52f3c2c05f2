import type { OfferedPlan } from '../registration/queries/plan-limits.ts'

const PERIODS = { DAY: 'day', WEEK: 'week', MONTH: 'month' } as const

/** Describes the limits of a plan in words. @param limits `null` if they cannot be read from API Gateway at present */
export function describeLimits(limits: OfferedPlan['limits']): string {
  if (limits === null) return 'Limits are not available right now.'
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
  return parts.length === 0 ? 'The plan sets no limit.' : `${parts.join('; ')}.`
}

const amount = (count: number) => count.toLocaleString('en-US')
const requests = (count: number) => `${amount(count)} ${count === 1 ? 'request' : 'requests'}`
