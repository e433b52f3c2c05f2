import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { type ProbeAnswer, probe } from '../aws/probe.ts'
import type { Log } from '../log.ts'

/** The least time between two probes of this process (ms), whoever asks: one that succeeds is a request to the API. */
const SPACING_MS = 10
/** Who only looks, waits no longer than this for a turn (ms). */
const LOOK_TURN_MS = 500
const PROBE_TIMEOUT_MS = 2_000
/** How long the answer about one key is reused (ms), while the API does not take it. */
const REFUSED_FOR_MS = 200
/** Who waits looks again after this long (ms), and then less and less often. */
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 1_000
const PAUSE_GROWTH = 1.5
/** Of how many keys it is remembered that the API took them. */
const REMEMBERED = 10_000

/** A key as the API sees it. The value goes nowhere but there. */
export interface KeyToProbe {
  readonly keyId: string
  readonly value: string
}

/** Whether the API takes keys: a new one needs from seconds to minutes to reach API Gateway's data plane. */
export interface Acceptance {
  /** Whether the API took the key before, without asking it. */
  wasTaken(keyId: string): boolean
  /** Whether the API takes the key; `null`: it did not say, or too many are asking. */
  isTaken(key: KeyToProbe): Promise<boolean | null>
  /**
   * Waits until the API takes the key, `until` has come (on the clock of `performance.now()`), nobody waits any more, or
   * the process stops. Never throws.
   * @returns whether the API took the key
   */
  untilTaken(key: KeyToProbe, until: number, isAwaited: () => boolean): Promise<boolean>
  /** Says in the log if the path that is probed cannot tell anything. Never throws. */
  checkPath(): Promise<void>
  /** Ends all waiting, now and later. */
  stopWaiting(): void
}

/** @param url a method of the API, with `apiKeyRequired` */
export function createAcceptance(url: string, log: Log): Acceptance {
  const taken = new LRUCache<string, true>({ max: REMEMBERED })
  const answers = new LRUCache<string, ProbeAnswer, { value: string; latest: number }>({
    max: REMEMBERED,
    ttl: REFUSED_FOR_MS,
    // Whoever asks meanwhile waits for the same probe.
    fetchMethod: async (_keyId, _stale, { context: { value, latest } }) => {
      if (!(await turn(latest))) return undefined
      const answer = await probe(url, value, AbortSignal.timeout(PROBE_TIMEOUT_MS))
      noteReach(answer)
      return answer
    },
  })
  const stopping = new AbortController()
  let reachable = true
  let nextAt = 0

  /** Waits for the next turn, first come, first served. Answers `false` at once if that is later than `latest`. */
  async function turn(latest: number): Promise<boolean> {
    const now = performance.now()
    const at = Math.max(now, nextAt)
    if (at > latest) return false
    nextAt = at + SPACING_MS
    await pause(at - now)
    return true
  }

  /** Ends early when the process stops. */
  async function pause(ms: number): Promise<void> {
    await sleep(Math.max(0, ms), undefined, { signal: stopping.signal }).catch(() => undefined)
  }

  /** Once for each time that the API falls silent. */
  function noteReach({ status, error }: ProbeAnswer): void {
    if (status === undefined && reachable) log.warn({ url, err: error }, 'the API could not be probed')
    reachable = status !== undefined
  }

  async function look({ keyId, value }: KeyToProbe, latest: number): Promise<boolean | null> {
    if (taken.has(keyId)) return true
    const answer = await answers.fetch(keyId, { context: { value, latest } })
    if (answer?.verdict !== 'taken') return answer?.verdict === 'refused' ? false : null
    taken.set(keyId, true)
    return true
  }

  async function lookUntil(key: KeyToProbe, until: number, isAwaited: () => boolean): Promise<boolean> {
    let pauseMs = FIRST_PAUSE_MS
    while (!stopping.signal.aborted && isAwaited() && performance.now() < until) {
      if (await look(key, until)) return true
      await pause(Math.min(pauseMs, until - performance.now()))
      pauseMs = Math.min(pauseMs * PAUSE_GROWTH, LONGEST_PAUSE_MS)
    }
    return taken.has(key.keyId)
  }

  return {
    isTaken: (key) => look(key, performance.now() + LOOK_TURN_MS),
    wasTaken: (keyId) => taken.has(keyId),
    async untilTaken(key, until, isAwaited) {
      const late = new AbortController()
      // The last probe may be slow: the answer is not.
      const timeIsOver = sleep(Math.max(0, until - performance.now()), undefined, { signal: late.signal })
      try {
        return await Promise.race([lookUntil(key, until, isAwaited), timeIsOver.then(() => false)])
      } finally {
        late.abort()
        timeIsOver.catch(() => undefined)
      }
    },
    async checkPath() {
      const { verdict, status, isUnknownPath, error } = await probe(
        url,
        undefined,
        AbortSignal.timeout(PROBE_TIMEOUT_MS),
      )
      if (verdict === 'unclear')
        log.warn({ url, status, err: error }, 'API_PROBE_PATH: the API did not answer')
      else if (verdict === 'taken')
        log.warn({ url, status }, 'API_PROBE_PATH answers without a key: it cannot tell which keys work')
      else if (isUnknownPath)
        log.warn({ url, status }, 'API_PROBE_PATH is no method of the API: it refuses every key')
    },
    stopWaiting: () => stopping.abort(),
  }
}
