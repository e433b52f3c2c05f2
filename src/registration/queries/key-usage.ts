import { LRUCache } from 'lru-cache'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { UsageDay } from '../../aws/usage.ts'
import type { PlanLimits } from '../../aws/usage-plans.ts'
import type { Clock } from '../../clock.ts'
import { isLogged, ServiceError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { chooseKeyPlan, type JudgeKeyDeps, type KeyOfPlan } from '../judge-key.ts'
import type { Timing } from '../timing.ts'

/** The time until figures are read again after that failed, and for which the last ones then stand in for them (ms). */
const RETRY_MS = 10_000
const STAND_IN_MS = 30 * 60_000
const MAX_CACHED = 1_000
const TIMEOUT_MS = 10_000

/** A range of days, `YYYY-MM-DD`, UTC. Both ends are included. */
export interface UsageRange {
  readonly from: string
  readonly to: string
}

/** The usage of one key, on the usage plan that the key is really on. */
export interface KeyUsage {
  readonly days: ReadonlyMap<string, UsageDay>
  /** The limits of the plan; `undefined`: the key is on no plan, and has no figures. */
  readonly limits: PlanLimits | undefined
  /** The time when the figures were read from API Gateway, in milliseconds since the epoch. */
  readonly readAt: number
}

/**
 * Reads the usage of a key, or returns figures that are at most a minute old; up to half an hour if API Gateway fails.
 * @throws ServiceError of API Gateway; `upstream_throttled` if too many ranges of one key are read at once
 */
export type ReadKeyUsage = (key: KeyOfPlan, range: UsageRange) => Promise<KeyUsage>

export interface KeyUsageDeps extends JudgeKeyDeps {
  readonly queryApiGateway: Pick<ApiGateway, 'findPlansOf' | 'readUsage'>
  readonly clock: Clock
  readonly timing: Pick<Timing, 'usageReuse'>
  readonly log: Log
}

interface Query {
  readonly key: KeyOfPlan
  readonly range: UsageRange
}

/** Creates the function that reads the usage of keys. Simultaneous requests for the same figures share one read. */
export function createKeyUsage(deps: KeyUsageDeps): ReadKeyUsage {
  const { queryApiGateway, clock, timing, log } = deps
  const cache = new LRUCache<string, KeyUsage & { readonly freshAt: number }, Query>({
    max: MAX_CACHED,
    ttl: timing.usageReuse,
    fetchMethod: async (_, known, { context: { key, range }, options }) => {
      try {
        return {
          ...(await inTurn(key.keyId, (signal) => read(key, range, signal))),
          freshAt: performance.now(),
        }
      } catch (err) {
        if (known === undefined || performance.now() - known.freshAt > STAND_IN_MS) throw err
        const fields = { api_key_id: key.keyId, err }
        if (!isLogged(err)) log.warn(fields, 'could not read usage; the last figures stand in')
        options.ttl = RETRY_MS
        return known
      }
    },
  })
  /** The keys whose usage is being read. */
  const reading = new Map<string, Promise<unknown>>()

  /** Lets one key have one read at a time, so that many ranges of one key do not delay the usage of the others. */
  async function inTurn<T>(keyId: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    for (let other = reading.get(keyId); other !== undefined; other = reading.get(keyId))
      await other.catch(() => undefined)
    if (signal.aborted) throw tooManyRanges()
    const own = work(signal)
    reading.set(keyId, own)
    return own.finally(() => reading.delete(keyId))
  }

  async function read(
    { keyId, usagePlanId: recordedId }: KeyOfPlan,
    range: UsageRange,
    signal: AbortSignal,
  ): Promise<KeyUsage> {
    const readAt = clock()
    const plans = await queryApiGateway.findPlansOf(keyId, signal)
    const { plan } = await chooseKeyPlan(deps, plans, recordedId)
    if (plan === null) return { days: new Map(), limits: undefined, readAt }
    const { usagePlanId, limits } = plan
    const days = await queryApiGateway.readUsage({ usagePlanId, keyId, ...range }, signal)
    return { days: new Map(days.map((day) => [day.date, day])), limits, readAt }
  }

  return async (key, range) => {
    const usage = await cache.fetch([key.keyId, range.from, range.to].join(), { context: { key, range } })
    if (usage === undefined) throw new Error('a read without a signal of its own was aborted')
    return usage
  }
}

function tooManyRanges(): ServiceError {
  return new ServiceError(
    'upstream_throttled',
    'Too many ranges of the usage of this key are read at once.',
    {
      retryAfter: TIMEOUT_MS / 1_000,
    },
  )
}
