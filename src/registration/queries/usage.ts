import type { PlanLimits } from '../../aws/usage-plans.ts'
import { ServiceError } from '../../errors.ts'
import type { Registration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import type { KeyUsage, ReadKeyUsage, UsageRange } from './key-usage.ts'
import type { RegistrationView } from './registration-view.ts'

/** The maximum number of days that API Gateway returns at once. */
const MAX_DAYS = 90
const DAY_MS = 86_400_000
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

export interface UsageDeps extends Pick<RegistrationDeps, 'clock' | 'planLimits'> {
  readonly readKeyUsage: ReadKeyUsage
}

/**
 * Reads the usage of a registration. `used` adds up the present key and one that still overlaps with it. `remaining` is
 * that of the present key, because each key has a quota of its own.
 * @param requested the first and last day; by default the last seven days
 * @throws ServiceError `invalid_request` for an impossible range; the errors of {@link ReadKeyUsage}
 */
export async function readUsage(
  deps: UsageDeps,
  { current, overlapping }: RegistrationView,
  requested: { from: string | undefined; to: string | undefined },
): Promise<UsageReport> {
  const range = usageRange(requested, deps.clock())
  const [present, previous] = await Promise.all([
    readUsageOf(deps, current, range),
    overlapping === null ? undefined : readUsageOf(deps, overlapping, range),
  ])
  const limits = present.limits ?? (await limitsByName(deps, current.plan))
  const days = datesOf(range).map((date) => ({
    date,
    used: (present.days.get(date)?.used ?? 0) + (previous?.days.get(date)?.used ?? 0),
    remaining: limits.quota === null ? null : (present.days.get(date)?.remaining ?? limits.quota.limit),
  }))
  const readAt = Math.min(present.readAt, previous?.readAt ?? present.readAt)
  return { ...range, days, limits, readAt }
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

function dateOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
