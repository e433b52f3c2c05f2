import { z } from 'zod'
import type { UsageReport } from '../registration/usage.ts'
import { timestamp, toTimestamp } from './register-schema.ts'

/** "Up to half an hour late", as API Gateway's figures are. */
const LAG_S = 1_800

const date = z.iso.date('must be a date as in 2026-11-24').optional()

export const usageQuery = z.strictObject({
  from: date.describe('The first day, UTC; left out: a week before the last'),
  to: date.describe('The last day, UTC; left out: today. At most 90 days'),
})

/** The answer of `GET /register/{id}/usage`. */
export const usageSchema = z
  .object({
    from: z.iso.date(),
    to: z.iso.date(),
    days: z.array(
      z.object({
        date: z.iso.date(),
        used: z.int().describe('Requests'),
        remaining: z.int().nullable().describe('What the quota leaves over; null: the plan has none'),
      }),
    ),
    limits: z.object({
      requests_per_second: z.number().nullable().describe('null: no limit'),
      burst: z.number().nullable(),
      quota: z
        .object({ requests: z.int(), period: z.enum(['DAY', 'WEEK', 'MONTH']) })
        .nullable()
        .describe('null: any number of requests'),
    }),
    read_at: timestamp,
    may_lag_seconds: z.int().describe('How much older than read_at the figures may be'),
  })
  .meta({ id: 'Usage' })

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
