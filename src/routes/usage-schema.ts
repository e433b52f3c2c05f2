import { z } from 'zod'
import type { UsageReport } from '../registration/queries/usage.ts'
import { timestamp, toTimestamp } from './register-schema.ts'

/** The most seconds that API Gateway's usage figures lag behind: half an hour. */
const LAG_S = 1_800

const date = z.iso.date('must be a date as in 2026-11-24').optional()

export const usageQuery = z.strictObject({
  from: date
    .describe('The first day, UTC. If omitted, six days before `to`')
    .meta({ examples: ['2026-11-23'] }),
  to: date
    .describe('The last day, UTC. If omitted, today. The range is at most 90 days')
    .meta({ examples: ['2026-11-24'] }),
})

/** The response to `GET /register/{id}/usage`. */
export const usageSchema = z
  .object({
    from: z.iso.date().describe('The first day, UTC'),
    to: z.iso.date().describe('The last day, UTC'),
    days: z
      .array(
        z.object({
          date: z.iso.date().describe('The day, UTC'),
          used: z.int().describe('The requests of the day'),
          remaining: z
            .int()
            .nullable()
            .describe(
              'The requests left in the quota at the end of the day; `null` if the plan has no quota',
            ),
        }),
      )
      .describe('Every day from the first to the last'),
    limits: z
      .object({
        requests_per_second: z
          .number()
          .nullable()
          .describe('The requests a second on average; `null` if there is no limit'),
        burst: z.number().nullable().describe('The requests at once; `null` if there is no limit'),
        quota: z
          .object({
            requests: z.int().describe('The requests in each period'),
            period: z.enum(['DAY', 'WEEK', 'MONTH']).describe('The period after which the quota is reset'),
          })
          .nullable()
          .describe('The quota; `null` if there is none'),
      })
      .describe('The limits that the usage plan sets for each key'),
    read_at: timestamp.describe('The time when the figures were read from API Gateway: RFC 3339, UTC'),
    may_lag_seconds: z.int().describe('The seconds by which the figures may be older than `read_at`'),
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

export function toUsageAnswer({ limits, readAt, ...report }: UsageReport): z.infer<typeof usageSchema> {
  const { ratePerSecond, burst, quota } = limits
  return {
    ...report,
    days: [...report.days],
    limits: {
      requests_per_second: ratePerSecond,
      burst,
      quota: quota === null ? null : { requests: quota.limit, period: quota.period },
    },
    read_at: toTimestamp(readAt),
    may_lag_seconds: LAG_S,
  }
}
