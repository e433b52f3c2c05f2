import { createTokenBucket, type TokenBucket } from '../src/token-bucket.ts'
import type { ApiKey } from './account.ts'
import { badRequest } from './api-error.ts'
import type { ThrottleSettings, UsagePlan } from './options.ts'
import type { Stage } from './rest-api.ts'

/** The throttling and quotas of the data plane, and the figures of GetUsage. */
export interface Usage {
  /** Counts a request with `key` to a method of a stage. @returns `'ok'`, or the reason to reject it */
  count(plan: UsagePlan, key: ApiKey, to: CalledMethod): 'ok' | 'throttled' | 'over quota'
  /** Counts a request against the limits that the stage sets for its methods. @returns `false` to reject it */
  passesStage(to: CalledMethod, settings: Stage['methodSettings']): boolean
  /** Sets what is left of a key's quota in the present period. @throws ApiError 400 if the plan has no quota */
  setRemaining(plan: UsagePlan, key: ApiKey, remaining: number): void
  /** Returns `[used, remaining]` of a key today, by key id. */
  today(plan: UsagePlan, key: ApiKey): Record<string, [used: number, remaining: number][]>
  /** Returns `[used, remaining]` by key id for each day from `startDate` to `endDate` (`YYYY-MM-DD`). @throws ApiError 400 */
  report(
    plan: UsagePlan,
    keys: readonly ApiKey[],
    query: UsageQuery,
  ): Record<string, [used: number, remaining: number][]>
}

export interface CalledMethod {
  readonly apiId: string
  readonly stage: string
  /** `/path/METHOD`, as usage plans name it. */
  readonly method: string
}

export interface UsageQuery {
  readonly startDate: string
  readonly endDate: string
}

const PERIOD_DAYS = { DAY: 1, WEEK: 7, MONTH: 30 }
const DAY_MS = 86_400_000
const MAX_DAYS = 90

/** @param clock the time by which requests are counted, in milliseconds since the epoch */
export function createUsage(clock: () => number): Usage {
  const buckets = new Map<string, TokenBucket>()
  /** The requests by plan and key, then by day since the epoch. */
  const days = new Map<string, Map<number, number>>()

  /** What UpdateUsage left of a key's quota, by plan and key: the allowance of a period in place of the plan's limit. */
  const allowances = new Map<string, { readonly period: number; readonly allowance: number }>()

  const idOf = (planId: string, keyId: string) => `${planId}/${keyId}`
  const usedOn = (planId: string, keyId: string, day: number) => days.get(idOf(planId, keyId))?.get(day) ?? 0
  /** The first day of the period that a day belongs to. */
  const periodOf = ({ quota }: UsagePlan, day: number) => day - (day % PERIOD_DAYS[quota?.period ?? 'DAY'])
  function usedInPeriod(plan: UsagePlan, keyId: string, day: number): number {
    let used = 0
    for (let at = periodOf(plan, day); at <= day; at++) used += usedOn(plan.id, keyId, at)
    return used
  }
  function remaining(plan: UsagePlan, keyId: string, day: number): number {
    const limit = plan.quota?.limit
    if (limit === undefined) return Number.MAX_SAFE_INTEGER
    const own = allowances.get(idOf(plan.id, keyId))
    const allowance = own?.period === periodOf(plan, day) ? own.allowance : limit
    return Math.max(0, allowance - usedInPeriod(plan, keyId, day))
  }
  const thisDay = () => Math.floor(clock() / DAY_MS)

  function isThrottled(id: string, { rateLimit, burstLimit }: ThrottleSettings = {}): boolean {
    if (rateLimit === 0 || burstLimit === 0) return true
    if (rateLimit === undefined) return false
    // Other limits make a new bucket.
    const name = `${id} ${rateLimit} ${burstLimit}`
    const bucket = buckets.get(name) ?? createTokenBucket(rateLimit, burstLimit ?? rateLimit)
    buckets.set(name, bucket)
    return bucket.take() > 0
  }

  return {
    count(plan, key, { apiId, stage, method }) {
      const id = idOf(plan.id, key.id)
      const own = plan.apiStages.find((one) => one.apiId === apiId && one.stage === stage)?.throttle?.[method]
      // In API Gateway's order: the limits of the method, then those of the plan.
      if (isThrottled(`${id} ${apiId}:${stage}${method}`, own) || isThrottled(id, plan.throttle))
        return 'throttled'
      const today = thisDay()
      if (remaining(plan, key.id, today) === 0) return 'over quota'
      const counts = days.get(id) ?? new Map<number, number>()
      days.set(id, counts.set(today, (counts.get(today) ?? 0) + 1))
      return 'ok'
    },
    passesStage({ apiId, stage, method }, settings) {
      const own = settings[method.replace(/^\/(?=[^/])/, '')]
      const all = settings['*/*']
      const limit = (field: string) => {
        const value = own?.[field] ?? all?.[field]
        return value === undefined ? undefined : Number(value)
      }
      const limits = { rateLimit: limit('throttlingRateLimit'), burstLimit: limit('throttlingBurstLimit') }
      return !isThrottled(`${apiId}:${stage}${method}`, limits)
    },
    setRemaining(plan, key, left) {
      if (plan.quota?.limit === undefined) throw badRequest(`Usage Plan ${plan.id} has no quota`)
      const today = thisDay()
      const allowance = left + usedInPeriod(plan, key.id, today)
      allowances.set(idOf(plan.id, key.id), { period: periodOf(plan, today), allowance })
    },
    today(plan, key) {
      const today = thisDay()
      return { [key.id]: [[usedOn(plan.id, key.id, today), remaining(plan, key.id, today)]] }
    },
    report(plan, keys, { startDate, endDate }) {
      const first = Date.parse(`${startDate}T00:00:00Z`) / DAY_MS
      const last = Date.parse(`${endDate}T00:00:00Z`) / DAY_MS
      if (!(first <= last && last - first < MAX_DAYS)) throw badRequest('Invalid date range')
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
