import { z } from 'zod'
import type { UsageReport } from '../registration/usage.ts'
import { timestamp, toTimestamp } from './register-schema.ts'

/** "Up to half an hour late", as API Gateway's figures are. */
const LAG_S = 1_800

const date = z.iso.date('must be a date as in 2026-11-24').optional()

export const usageQuery = z.strictObject({
  from: date
    .describe('The first day, UTC; left out: a week before the last')
    .meta({ examples: ['2026-11-23'] }),
  to: date.describe('The last day, UTC; left out: today. At most 90 days').meta({ examples: ['2026-11-24'] }),
})

/** The answer of `GET /register/{id}/usage`. */
export const usageSchema = z
  .object({
    from: z.iso.date().describe('The first day, UTC'),
    to: z.iso.date().describe('The last day, UTC'),
    days: z
      .array(
        z.object({
          date: z.iso.date().describe('UTC'),
          used: z.int().describe('Requests'),
          remaining: z.int().nullable().describe('What the quota leaves over; null: the plan has none'),
        }),
      )
      .describe('Every day from the first to the last'),
    limits: z
      .object({
        requests_per_second: z.number().nullable().describe('null: no limit'),
        burst: z.number().nullable().describe('Requests at once; null: no limit'),
        quota: z
          .object({
            requests: z.int().describe('How many in each period'),
            period: z.enum(['DAY', 'WEEK', 'MONTH']).describe('After which it counts from 0 again'),
          })
          .nullable()
          .describe('null: any number of requests'),
      })
      .describe('Of the usage plan, for each key'),
    read_at: timestamp.describe('When API Gateway was asked: RFC 3339, UTC'),
    may_lag_seconds: z.int().describe('How much older than read_at the figures may be'),
  })
  .meta({ id: 'Usage' })

export const usageExample: z.infer<typeof usageSchema> = {
  from: '2026-11-23',
  to: '2026-11-24',
  days: [
    { date: '2026-11-23', used: 412, remaining: 9588 },
    { date: '2026-11-24', used: 37, remaining: 9551 },
  ],
  limits: { requests_per_second: 10, burst: 20, quota: { requests: 10_000, period: 'MONTH' } },
  read_at: '2026-11-24T08:15:00.000Z',
  may_lag_seconds: LAG_S,
}

export function toUsageAnswer({ limits, ...report }: UsageReport, now: number): z.infer<typeof usageSchema> {
  const { ratePerSecond, burst, quota } = limits
  return {
    ...report,
    days: [...report.days],
    limits: {
      requests_per_second: ratePerSecond,
      burst,
      quota: quota === null ? null : { requests: quota.limit, period: quota.period },
    },
    read_at: toTimestamp(now),
    may_lag_seconds: LAG_S,
  }
}
