import type { PlanLimits } from '../../aws/usage-plans.ts'
import { DAY_MS, dateOf } from '../../clock.ts'
import { ServiceError } from '../../errors.ts'
import type { DailyUsage, Registration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { mayHaveKey } from '../lifecycle.ts'
import type { KeyUsage, ReadKeyUsage, UsageRange } from './key-usage.ts'
import type { RegistrationView } from './registration-view.ts'

/** The maximum number of days that API Gateway returns at once. */
const MAX_DAYS = 90
const DEFAULT_DAYS = 7
/** API Gateway has no usage of earlier days: it was released in 2015. */
const EARLIEST = '2015-01-01'

export interface UsageReport extends UsageRange {
  /** Every day of the range. `remaining`: requests that the key's quota still allows; `null` if the plan has no quota. */
  readonly days: readonly {
    readonly date: string
    readonly used: number
    readonly remaining: number | null
  }[]
  readonly limits: PlanLimits
  /** The time when the oldest of the figures were read from API Gateway, in milliseconds since the epoch. */
  readonly readAt: number
}

export interface UsageDeps extends Pick<RegistrationDeps, 'clock' | 'planLimits' | 'store'> {
  readonly readKeyUsage: ReadKeyUsage
}

/**
 * Reads the usage of a registration. `used` adds up all its keys: those that exist, and what was stored of replaced ones
 * before their deletion. `remaining` is that of the present key, which has the rest of the quota of the keys before it.
 * @param requested the first and last day; by default the last seven days
 * @throws ServiceError `invalid_request` for an impossible range; the errors of {@link ReadKeyUsage} and of the store
 */
export async function readUsage(
  deps: UsageDeps,
  { registration, current }: RegistrationView,
  requested: { from: string | undefined; to: string | undefined },
): Promise<UsageReport> {
  const range = usageRange(requested, deps.clock())
  const earlier = await earlierKeysOf(deps, current)
  const [stored, present, ...previous] = await Promise.all([
    registration.currentId === null ? NO_USAGE : deps.store.sumFinalUsage(registration.id, range),
    readUsageOf(deps, current, range),
    ...earlier.map((one) => readUsageOf(deps, one, range)),
  ])
  const limits = present.limits ?? (await limitsByName(deps, current.plan))
  const days = datesOf(range).map((date) => {
    const remaining = present.days.get(date)?.remaining
    return {
      date,
      used: [present, ...previous].reduce(
        (sum, one) => sum + (one.days.get(date)?.used ?? 0),
        stored[date] ?? 0,
      ),
      remaining: limits.quota === null ? null : (remaining ?? limits.quota.limit),
    }
  })
  const readAt = Math.min(...[present, ...previous].map((one) => one.readAt))
  return { ...range, days, limits, readAt }
}

/**
 * The records of replaced keys that may still exist, and whose usage is not stored: the two before the present one. All
 * earlier keys are deleted, because otherwise the rotation after them had not begun.
 */
async function earlierKeysOf({ store }: UsageDeps, { replacedId }: Registration): Promise<Registration[]> {
  const last = replacedId === null ? undefined : await store.getRegistration(replacedId)
  const before = last?.replacedId ? await store.getRegistration(last.replacedId) : undefined
  return [last, before].flatMap((one) => (one && mayHaveKey(one) && one.finalUsage === null ? one : []))
}

/** Reads the usage of the key of a registration or rotation. */
async function readUsageOf(
  { readKeyUsage, clock }: UsageDeps,
  { apiKeyId: keyId, usagePlanId }: Registration,
  range: UsageRange,
): Promise<KeyUsage> {
  if (keyId === null) return { days: new Map(), limits: undefined, readAt: clock() }
  return readKeyUsage({ keyId, usagePlanId }, range)
}

const NO_USAGE: DailyUsage = {}
const NO_LIMITS: PlanLimits = { ratePerSecond: null, burst: null, quota: null }

/** The limits of the plan of this deployment with this name. None, if there is no such plan or it cannot be read. */
async function limitsByName({ planLimits }: UsageDeps, name: string): Promise<PlanLimits> {
  const offered = await planLimits()
  return offered.find((one) => one.name === name)?.limits ?? NO_LIMITS
}

function usageRange(
  requested: { from: string | undefined; to: string | undefined },
  now: number,
): UsageRange {
  const to = requested.to ?? dateOf(now)
  const from = requested.from ?? dateOf(Date.parse(to) - (DEFAULT_DAYS - 1) * DAY_MS)
  if (from > to) throw badRange('/from', 'must not be after "to"')
  if (Date.parse(to) - Date.parse(from) >= MAX_DAYS * DAY_MS) {
    throw badRange('/from', `must be at most ${MAX_DAYS - 1} days before "to"`)
  }
  if (from < EARLIEST) throw badRange('/from', `must not be before ${EARLIEST}`)
  // East of UTC, the next day may have begun already.
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
