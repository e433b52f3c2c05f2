import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { createProbe, type ProbeAnswer, type Verdict } from '../../aws/probe.ts'
import type { ProxyVariables } from '../../egress-proxy.ts'
import type { Log } from '../../log.ts'
import { createProbeQueue } from './probe-queue.ts'

/** The minimum time between two probes of keys by this process (ms). An accepted probe counts as a request to the API. */
const SPACING_MS = 5
const PROBE_TIMEOUT_MS = 5_000
/** The time limit of {@link KeyProbe.isAccepted} (ms). */
const CHECK_TIMEOUT_MS = 2_000
/** The time for which the response to a key is reused (ms). */
const REUSE_MS = 200
/** While a caller waits, the pause before the next probe of its key (ms). Each pause is longer than the last. */
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 1_000
const PAUSE_GROWTH = 1.5
/** The number of accepted keys to remember. */
const MAX_REMEMBERED = 10_000

/** A key to probe. Its value is sent to the API, and never logged or stored. */
export interface KeyToProbe {
  readonly keyId: string
  readonly value: string
  /** The bootstrap token that it was minted with: tokens take turns. */
  readonly tokenId: string
}

/** Reports whether the API accepts keys. A new key needs seconds to minutes to reach API Gateway's data plane. */
export interface KeyProbe {
  /** Returns `true` if the API accepted the key before. Sends no probe. */
  wasAccepted(keyId: string): boolean
  /**
   * Probes a key once. Never throws.
   * @returns `true` if the API accepts the key, `false` if it rejects it; `null` if there is no clear response within two
   *   seconds, or if the API does not reject requests without a key
   */
  isAccepted(key: KeyToProbe): Promise<boolean | null>
  /**
   * Probes a key until the API accepts it, the time is over, or {@link stopWaiting} is called. Never throws.
   * @param until returns the end of the wait, on the clock of `performance.now()`; `null` ends it. It is called again
   *   before each probe, and can shorten the wait, but not extend it.
   * @returns `true` if the API accepted the key, `false` if it did not in time; `null` if it accepts requests without a
   *   key, so that a probe proves nothing
   */
  untilAccepted(key: KeyToProbe, until: () => number | null): Promise<boolean | null>
  /** Probes without a key, and logs a warning if the probed path cannot prove that a key is accepted. Never throws. */
  checkPath(): Promise<void>
  /** Ends all waits, the present ones and all later ones. */
  stopWaiting(): void
}

/** @param url the URL of a method of the API with `apiKeyRequired` */
export function createKeyProbe(url: string, log: Log, proxies: ProxyVariables = {}): KeyProbe {
  const probe = createProbe(url, proxies)
  const queue = createProbeQueue(SPACING_MS)
  const stopping = new AbortController()
  const accepted = new LRUCache<string, true>({ max: MAX_REMEMBERED })
  const responses = new LRUCache<string, ProbeAnswer, { key: KeyToProbe; isWanted: () => boolean }>({
    max: MAX_REMEMBERED,
    ttl: REUSE_MS,
    // Simultaneous callers for the same key share one probe.
    fetchMethod: async (_keyId, _stale, { context: { key, isWanted } }) => {
      if (!(await queue.turn(key.tokenId, isWanted))) return undefined
      const response = await send(key.value)
      noteReachability(response)
      return response
    },
  })
  let isReachable = true
  let hasWarned = false
  /** The verdict on requests without a key. `accepted`: a probe proves nothing. `unclear`: the path is checked again. */
  let verdictWithoutKey: Verdict = 'unclear'
  let pathCheck: Promise<void> | undefined

  function send(apiKey: string | undefined): Promise<ProbeAnswer> {
    return probe(apiKey, AbortSignal.any([stopping.signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]))
  }

  /** Logs that the API cannot be reached, once until it responds again. */
  function noteReachability({ status, error }: ProbeAnswer): void {
    if (status === undefined && isReachable && !stopping.signal.aborted)
      log.warn({ url, err: error }, 'could not reach the API to probe a key')
    isReachable = status !== undefined
  }

  /** Probes a key once. @returns `null` if the response proves nothing, or if the probe was not sent */
  async function probeKey(key: KeyToProbe, isWanted: () => boolean): Promise<boolean | null> {
    const response = await responses.fetch(key.keyId, { context: { key, isWanted } })
    if (response === undefined || response.verdict === 'unclear') return null
    if (response.verdict === 'rejected') return false
    if (verdictWithoutKey === 'unclear') await checkPath()
    if (verdictWithoutKey !== 'rejected') return null
    accepted.set(key.keyId, true)
    return true
  }

  /** Simultaneous callers share one check. */
  function checkPath(): Promise<void> {
    pathCheck ??= probePath().finally(() => {
      pathCheck = undefined
    })
    return pathCheck
  }

  async function probePath(): Promise<void> {
    const { verdict, status, isUnknownPath, error } = await send(undefined)
    verdictWithoutKey = verdict
    if (verdict === 'unclear')
      log.warn(
        { url, status, err: error },
        'API_PROBE_PATH neither accepted nor rejected a request without a key: ' +
          'no key is reported as ready until it rejects one',
      )
    else if (verdict === 'accepted')
      log.warn(
        { url, status },
        'API_PROBE_PATH accepts requests without a key, so that ready is not reported: ' +
          'set it to a method that requires a key',
      )
    else if (isUnknownPath)
      log.warn({ url, status }, 'API_PROBE_PATH is not a method of the API, so it rejects every key')
  }

  /** Logs once that no key was accepted yet. Keys may be slow to arrive, but more likely the path rejects all of them. */
  function noteRejection(): void {
    if (accepted.size > 0 || hasWarned) return
    hasWarned = true
    const advice = 'check that its stage is on the plan, and that nothing else there responds with 401 or 403'
    log.warn({ url }, `API_PROBE_PATH has rejected every key so far: ${advice}`)
  }

  async function probeUntil(key: KeyToProbe, until: () => number | null): Promise<boolean | null> {
    let wasRejected = false
    const leftMs = () => (stopping.signal.aborted ? 0 : (until() ?? 0) - performance.now())
    for (
      let pauseMs = FIRST_PAUSE_MS;
      leftMs() > 0;
      pauseMs = Math.min(pauseMs * PAUSE_GROWTH, LONGEST_PAUSE_MS)
    ) {
      const isAccepted = await probeKey(key, () => leftMs() > 0)
      if (isAccepted) return true
      if (verdictWithoutKey === 'accepted') return null
      wasRejected ||= isAccepted === false
      await pause(Math.min(pauseMs, leftMs()), stopping.signal)
    }
    if (wasRejected && !stopping.signal.aborted) noteRejection()
    return false
  }

  return {
    wasAccepted: (keyId) => accepted.has(keyId),
    async isAccepted(key) {
      if (verdictWithoutKey === 'accepted') return null
      const endsAt = performance.now() + CHECK_TIMEOUT_MS
      return within(
        CHECK_TIMEOUT_MS,
        probeKey(key, () => performance.now() < endsAt),
        null,
      )
    },
    async untilAccepted(key, until) {
      if (verdictWithoutKey === 'accepted') return null
      // The last probe may take longer than the wait.
      return within((until() ?? 0) - performance.now(), probeUntil(key, until), false)
    },
    checkPath,
    stopWaiting() {
      stopping.abort()
      queue.close()
    },
  }
}

/** Resolves after `ms` milliseconds, or earlier if `signal` aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(Math.max(0, ms), undefined, { signal }).catch(() => undefined)
}

/** Returns the result of `work`, or `fallback` if it fails or takes longer than `ms` milliseconds. */
async function within<T>(ms: number, work: Promise<T>, fallback: T): Promise<T> {
  const done = new AbortController()
  try {
    return await Promise.race([work.catch(() => fallback), pause(ms, done.signal).then(() => fallback)])
  } finally {
    done.abort()
  }
}
