import { createTokenBucket, type TokenBucket } from '../token-bucket.ts'

/**
 * `high`: registrations. `low`: background work (recovery, clean-up, checks), which uses what registrations leave over, but
 * is not starved by them. `query`: what owners ask for (usage, status), which uses what both leave over, and has a rate of
 * its own, so that polling delays neither.
 */
export type Priority = 'high' | 'low' | 'query'

/**
 * The service's model of the control plane's quotas: every call waits here for its turn, so that API Gateway does not
 * throttle it. Calls are sent in the order of their arrival, those of registrations first.
 */
export interface Pace {
  /**
   * Resolves when the call may be sent.
   * @param operation the name of the SDK's command without "Command"
   * @throws the reason of `signal` if that aborts first
   */
  turn(operation: string, priority: Priority, signal?: AbortSignal): Promise<void>
  /** Returns the milliseconds for which a call would wait if it were made now and nothing else waited; 0 for none. */
  waitFor(operation: string, priority: Priority): number
  /** Reports that API Gateway throttled a call: no call is sent for `seconds`, and then there is no burst at first. */
  slowDown(seconds: number): void
}

interface Waiting {
  readonly operation: string
  readonly priority: Priority
  readonly since: number
  readonly go: () => void
}

/** The burst, as the calls of this many seconds (developer guide: 10 a second, burst 40). */
const BURST_SECONDS = 4
/** The operations that have a quota of their own: half of the total. */
const HALF_RATE = ['CreateApiKey', 'DeleteApiKey']
/** The operations that have a fixed quota: so many calls in so many seconds. */
const FIXED_QUOTAS: Readonly<Record<string, { readonly calls: number; readonly seconds: number }>> = {
  UpdateUsagePlan: { calls: 1, seconds: 20 },
  UpdateAccount: { calls: 1, seconds: 20 },
  CreateDeployment: { calls: 1, seconds: 5 },
  GetResources: { calls: 5, seconds: 2 },
  CreateRestApi: { calls: 1, seconds: 3 },
}
/** The rate of queries as a part of the total, and their burst in seconds of it; at least one question takes so many calls. */
const QUERY_SHARE = 1 / 4
const QUERY_BURST_SECONDS = 2
const QUERY_BURST_MIN = 4
/** The calls by which a burst stays below the quota: calls do not arrive exactly as they were sent. */
const BURST_MARGIN = 1
/** The same where a quota leaves no burst: the seconds by which calls are further apart. */
const INTERVAL_MARGIN_S = 0.2
/** After this wait (ms) background work no longer spares the burst, and takes turns with registrations. */
const PATIENCE_MS = 1_000
/** The calls of registrations between two calls of overdue other work, so that neither starves the other. */
const REGISTRATIONS_IN_A_ROW = 3
/** The longest `Retry-After` that is obeyed, in seconds; a longer one is reduced to it. */
const LONGEST_PAUSE_S = 30

/** Creates the quotas of the operations that have one, by the name of the SDK's command without "Command". */
function createOwnQuotas(perSecond: number): Map<string, TokenBucket> {
  const half = perSecond / 2
  const quotas = new Map<string, TokenBucket>()
  for (const name of HALF_RATE) quotas.set(name, createTokenBucket(half, Math.max(1, half - BURST_MARGIN)))
  for (const [name, { calls, seconds }] of Object.entries(FIXED_QUOTAS))
    quotas.set(
      name,
      createTokenBucket(calls / (seconds + INTERVAL_MARGIN_S), Math.max(1, calls - BURST_MARGIN)),
    )
  return quotas
}

/**
 * Creates a pace.
 * @param perSecond calls a second that this process may make; 0: no limit, only throttling slows it down
 */
export function createPace(perSecond: number): Pace {
  const now = () => performance.now()
  const burst = perSecond * BURST_SECONDS
  const total = perSecond === 0 ? undefined : createTokenBucket(perSecond, burst - BURST_MARGIN)
  const own = perSecond === 0 ? new Map<string, TokenBucket>() : createOwnQuotas(perSecond)
  const queryRate = perSecond * QUERY_SHARE
  const ofQueries =
    perSecond === 0
      ? undefined
      : createTokenBucket(queryRate, Math.max(QUERY_BURST_MIN, queryRate * QUERY_BURST_SECONDS))
  const waiting = new Set<Waiting>()
  let registrationsInARow = 0
  let pausedUntil = 0
  let timer: NodeJS.Timeout | undefined

  /** Returns the milliseconds for which a call waits behind registrations; 0 if it has the same priority. */
  function yields({ priority, since }: Omit<Waiting, 'go'>): number {
    return priority === 'high' ? 0 : Math.max(0, since + PATIENCE_MS - now())
  }

  /** The quotas and rates that a call counts against. */
  function bucketsOf({ operation, priority }: Pick<Waiting, 'operation' | 'priority'>): TokenBucket[] {
    return [total, own.get(operation), priority === 'query' ? ofQueries : undefined].filter(
      (bucket) => bucket !== undefined,
    )
  }

  /** Returns the milliseconds until a call may be sent; 0 for now. */
  function waitOf(one: Omit<Waiting, 'go'>): number {
    const pause = Math.max(0, pausedUntil - now())
    const quota = 1_000 * Math.max(0, ...bucketsOf(one).map((bucket) => bucket.wait()))
    // Background work leaves half of the burst to registrations that may arrive at any moment.
    const missing = total === undefined ? 0 : Math.max(0, burst / 2 - total.level())
    const reserve = missing === 0 ? 0 : Math.min(yields(one), (1_000 * missing) / perSecond)
    return Math.max(pause, quota, reserve)
  }

  function inOrder(): Waiting[] {
    const {
      registrations = [],
      work = [],
      queries = [],
      patient = [],
    } = Object.groupBy(waiting, (one) => {
      if (one.priority === 'high') return 'registrations'
      if (yields(one) > 0) return 'patient'
      return one.priority === 'low' ? 'work' : 'queries'
    })
    const overdue = [...work, ...queries]
    const ordered: Waiting[] = []
    let inARow = registrationsInARow
    for (const one of registrations) {
      const turn = inARow >= REGISTRATIONS_IN_A_ROW ? overdue.shift() : undefined
      if (turn !== undefined) {
        ordered.push(turn)
        inARow = 0
      }
      ordered.push(one)
      inARow += 1
    }
    return [...ordered, ...overdue, ...patient]
  }

  function letThrough(): void {
    clearTimeout(timer)
    let next = Number.POSITIVE_INFINITY
    for (const one of inOrder()) {
      const wait = waitOf(one)
      if (wait > 0) {
        next = Math.min(next, wait)
        continue
      }
      for (const bucket of bucketsOf(one)) bucket.take()
      registrationsInARow = one.priority === 'high' ? registrationsInARow + 1 : 0
      waiting.delete(one)
      one.go()
    }
    if (waiting.size > 0) timer = setTimeout(letThrough, Math.ceil(next))
  }

  return {
    turn(operation, priority, signal) {
      return new Promise((resolve, reject) => {
        const stop = () => {
          waiting.delete(one)
          reject(signal?.reason)
        }
        const one: Waiting = {
          operation,
          priority,
          since: now(),
          go: () => {
            signal?.removeEventListener('abort', stop)
            resolve()
          },
        }
        if (signal?.aborted) return stop()
        signal?.addEventListener('abort', stop, { once: true })
        waiting.add(one)
        letThrough()
      })
    },
    waitFor: (operation, priority) => waitOf({ operation, priority, since: now() }),
    slowDown(seconds) {
      pausedUntil = Math.max(pausedUntil, now() + Math.min(seconds, LONGEST_PAUSE_S) * 1_000)
      total?.empty()
    },
  }
}
