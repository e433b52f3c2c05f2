import type { ApiGateway } from '../../aws/api-gateway.ts'
import { DAY_MS, dateOf } from '../../clock.ts'
import type { DailyUsage, Registration } from '../../store/records.ts'

/** The maximum number of days whose usage API Gateway returns at once. */
const DAYS = 90

/**
 * Reads the days of the last 90 on which a key was used, with the requests of each, on every usage plan that it is on; on its
 * plan of record if it is on none. API Gateway's figures are up to half an hour late.
 * @throws ServiceError of API Gateway
 */
export async function readDaysUsed(
  apiGateway: Pick<ApiGateway, 'findPlansOf' | 'readUsage'>,
  { apiKeyId: keyId, usagePlanId }: Pick<Registration, 'apiKeyId' | 'usagePlanId'>,
  now: number,
  signal: AbortSignal,
): Promise<DailyUsage> {
  const days: Record<string, number> = {}
  if (keyId === null) return days
  // Not from its creation on: that may have been recorded by a wrong clock.
  const range = { from: dateOf(now - (DAYS - 1) * DAY_MS), to: dateOf(now) }
  // An operator may have moved the key, or taken it off its plan.
  const present = await apiGateway.findPlansOf(keyId, signal)
  const planIds = present.length === 0 ? [usagePlanId] : present.map((plan) => plan.usagePlanId)
  for (const planId of planIds)
    for (const { date, used } of await apiGateway.readUsage({ usagePlanId: planId, keyId, ...range }, signal))
      if (used > 0) days[date] = (days[date] ?? 0) + used
  return days
}
