import { createTokenBucket, type TokenBucket } from '../src/token-bucket.ts'
import type { Account, ApiKey } from './account.ts'
import { badRequest } from './api-error.ts'
import type { UsagePlan } from './options.ts'

/** The throttling and quotas of the data plane, and the figures of GetUsage. */
export interface Usage {
  /** Counts a request with `key`. @returns `'ok'`, or the reason to reject it */
  count(plan: UsagePlan, key: ApiKey): 'ok' | 'throttled' | 'over quota'
  /** Returns `[used, remaining]` by key id for each day from `startDate` to `endDate` (`YYYY-MM-DD`). @throws ApiError 400 */
  report(
    account: Account,
    plan: UsagePlan,
    query: UsageQuery,
  ): Record<string, [used: number, remaining: number][]>
}

export interface UsageQuery {
  readonly startDate: string
  readonly endDate: string
  readonly keyId?: string | undefined
}

const PERIOD_DAYS = { DAY: 1, WEEK: 7, MONTH: 30 }
const DAY_MS = 86_400_000
const MAX_DAYS = 90

export function createUsage(): Usage {
  const buckets = new Map<string, TokenBucket>()
  /** The requests by plan and key, then by day since the epoch. */
  const days = new Map<string, Map<number, number>>()

  const usedOn = (planId: string, keyId: string, day: number) => days.get(`${planId}/${keyId}`)?.get(day) ?? 0
  function usedInPeriod(plan: UsagePlan, keyId: string, day: number): number {
    const length = PERIOD_DAYS[plan.quota?.period ?? 'DAY']
    let used = 0
    for (let at = day - (day % length); at <= day; at++) used += usedOn(plan.id, keyId, at)
    return used
  }
  const remaining = (plan: UsagePlan, keyId: string, day: number) =>
    plan.quota?.limit === undefined
      ? Number.MAX_SAFE_INTEGER
      : Math.max(0, plan.quota.limit - usedInPeriod(plan, keyId, day))

  return {
    count(plan, key) {
      const id = `${plan.id}/${key.id}`
      const rate = plan.throttle?.rateLimit
      if (rate !== undefined) {
        const bucket = buckets.get(id) ?? createTokenBucket(rate, plan.throttle?.burstLimit ?? rate)
        buckets.set(id, bucket)
        if (bucket.take() > 0) return 'throttled'
      }
      const today = Math.floor(Date.now() / DAY_MS)
      if (remaining(plan, key.id, today) === 0) return 'over quota'
      const counts = days.get(id) ?? new Map<number, number>()
      days.set(id, counts.set(today, (counts.get(today) ?? 0) + 1))
      return 'ok'
    },
    report(account, plan, { startDate, endDate, keyId }) {
      const first = Date.parse(`${startDate}T00:00:00Z`) / DAY_MS
      const last = Date.parse(`${endDate}T00:00:00Z`) / DAY_MS
      if (!(first <= last && last - first < MAX_DAYS)) throw badRequest('Invalid date range')
      const keys = account.keysOn(plan.id).filter((key) => keyId === undefined || key.id === keyId)
      return Object.fromEntries(
        keys.map((key) => [
          key.id,
          Array.from({ length: last - first + 1 }, (_, i) => [
            usedOn(plan.id, key.id, first + i),
            remaining(plan, key.id, first + i),
          ]),
        ]),
      )
    },
  }
}
