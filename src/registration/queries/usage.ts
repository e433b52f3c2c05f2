import type { UsageDay } from '../../aws/usage.ts'
import type { PlanLimits } from '../../aws/usage-plans.ts'
import { ServiceError } from '../../errors.ts'
import type { RegistrationDeps } from '../deps.ts'
import type { RegistrationView } from './registration-view.ts'

/** The most days that API Gateway answers at once. */
const MOST_DAYS = 90
const DAY_MS = 86_400_000
const DEFAULT_DAYS = 7
/** Before API Gateway there was nothing to use. */
const EARLIEST = '2015-01-01'
const TIMEOUT_MS = 10_000

export interface UsageRange {
  /** `YYYY-MM-DD`, UTC; both included. */
  readonly from: string
  readonly to: string
}

export interface UsageReport extends UsageRange {
  /** Of every day of the range. `remaining`: `null` where the plan has no quota. */
  readonly days: readonly {
    readonly date: string
    readonly used: number
    readonly remaining: number | null
  }[]
  readonly limits: PlanLimits
}

/**
 * What a registration used, with the key it has and the one that overlaps with it taken together; what remains is the
 * newer key's, for each key has a quota of its own.
 * @throws ServiceError `invalid_request` for an impossible range; what API Gateway throws
 */
export async function readUsage(
  { lowPriorityApiGateway, clock }: Pick<RegistrationDeps, 'lowPriorityApiGateway' | 'clock'>,
  { current, overlapping, registration: { usagePlanId } }: RegistrationView,
  asked: { from: string | undefined; to: string | undefined },
): Promise<UsageReport> {
  const range = usageRange(asked, clock())
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const usageOf = async (keyId: string | null | undefined): Promise<Map<string, UsageDay>> => {
    if (keyId === null || keyId === undefined) return new Map()
    const days = await lowPriorityApiGateway.readUsage({ usagePlanId, keyId, ...range }, signal)
    return new Map(days.map((day) => [day.date, day]))
  }
  const [{ limits }, own, before] = await Promise.all([
    lowPriorityApiGateway.describePlan(usagePlanId, signal),
    usageOf(current.apiKeyId),
    usageOf(overlapping?.apiKeyId),
  ])
  const quota = limits.quota
  const days = datesOf(range).map((date) => ({
    date,
    used: (own.get(date)?.used ?? 0) + (before.get(date)?.used ?? 0),
    remaining: quota === null ? null : (own.get(date)?.remaining ?? quota.limit),
  }))
  return { ...range, days, limits }
}

function usageRange(asked: { from: string | undefined; to: string | undefined }, now: number): UsageRange {
  const to = asked.to ?? dateOf(now)
  const from = asked.from ?? dateOf(Date.parse(to) - (DEFAULT_DAYS - 1) * DAY_MS)
  if (from > to) throw badRange('/from', 'must not be after "to"')
  if (Date.parse(to) - Date.parse(from) >= MOST_DAYS * DAY_MS) {
    throw badRange('/from', `must be at most ${MOST_DAYS} days before "to"`)
  }
  if (from < EARLIEST) throw badRange('/from', `must not be before ${EARLIEST}`)
  // A day ahead of UTC is today somewhere; what is later is a mistake.
  if (Date.parse(to) > now + DAY_MS) throw badRange('/to', 'must not be in the future')
  return { from, to }
}

function badRange(path: string, message: string): ServiceError {
  return new ServiceError('invalid_request', `${path.slice(1)}: ${message}.`, { errors: [{ path, message }] })
}

function datesOf({ from, to }: UsageRange): string[] {
  const count = (Date.parse(to) - Date.parse(from)) / DAY_MS + 1
  return Array.from({ length: count }, (_, i) => dateOf(Date.parse(from) + i * DAY_MS))
}

function dateOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
