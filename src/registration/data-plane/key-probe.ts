import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { type ProbeAnswer, probe, type Verdict } from '../../aws/probe.ts'
import type { Log } from '../../log.ts'
import { createProbeQueue } from './probe-queue.ts'

/** The least time between two probes of this process (ms), whoever asks: one that succeeds is a request to the API. */
const SPACING_MS = 5
const PROBE_TIMEOUT_MS = 5_000
/** Who only looks, is told so soon that nobody knows (ms). */
const LOOK_MS = 2_000
/** How long the answer about one key is reused (ms). */
const ANSWER_FOR_MS = 200
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
  /** With which bootstrap token it was made: tokens take turns. */
  readonly tokenId: string
}

/** Whether the API takes keys: a new one needs from seconds to minutes to reach API Gateway's data plane. */
export interface KeyProbe {
  /** Whether the API took the key before, without asking it. */
  wasAccepted(keyId: string): boolean
  /** Whether the API takes the key; `null`: it did not say in time. */
  isAccepted(key: KeyToProbe): Promise<boolean | null>
  /**
   * Waits until the API takes the key, `until` has come (on the clock of `performance.now()`) or is `null`, or the process
   * stops. Never throws.
   * @returns whether the API was seen to take the key; `null`: it takes any, so that nothing can be seen
   */
  untilAccepted(key: KeyToProbe, until: () => number | null): Promise<boolean | null>
  /** Looks whether the path that is probed can tell anything, and says in the log if not. Never throws. */
  checkPath(): Promise<void>
  /** Ends all waiting, now and later. */
  stopWaiting(): void
}

/** @param url a method of the API, with `apiKeyRequired` */
export function createKeyProbe(url: string, log: Log): KeyProbe {
  const line = createProbeQueue(SPACING_MS)
  const stopping = new AbortController()
  const accepted = new LRUCache<string, true>({ max: REMEMBERED })
  const answers = new LRUCache<string, ProbeAnswer, { key: KeyToProbe; isWanted: () => boolean }>({
    max: REMEMBERED,
    ttl: ANSWER_FOR_MS,
    // Whoever asks meanwhile waits for the same probe.
    fetchMethod: async (_keyId, _stale, { context: { key, isWanted } }) => {
      if (!(await line.turn(key.tokenId, isWanted))) return undefined
      const answer = await ask(key.value)
      noteReach(answer)
      return answer
    },
  })
  let reachable = true
  let warned = false
  /** What the path says to a request without a key: `accepted`, and it proves nothing; `unclear`: it is asked again. */
  let withoutKey: Verdict = 'unclear'
  let asking: Promise<void> | undefined

  function ask(apiKey: string | undefined): Promise<ProbeAnswer> {
    return probe(url, apiKey, AbortSignal.any([stopping.signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]))
  }

  /** Once for each time that the API falls silent. */
  function noteReach({ status, error }: ProbeAnswer): void {
    if (status === undefined && reachable && !stopping.signal.aborted)
      log.warn({ url, err: error }, 'the API could not be probed')
    reachable = status !== undefined
  }

  async function look(key: KeyToProbe, isWanted: () => boolean): Promise<boolean | null> {
    const answer = await answers.fetch(key.keyId, { context: { key, isWanted } })
    if (answer === undefined || answer.verdict === 'unclear') return null
    if (answer.verdict === 'rejected') return false
    if (withoutKey === 'unclear') await checkPath()
    if (withoutKey !== 'rejected') return null
    accepted.set(key.keyId, true)
    return true
  }

  /** Those who ask meanwhile wait for the same answer. */
  function checkPath(): Promise<void> {
    asking ??= askWithoutKey().finally(() => {
      asking = undefined
    })
    return asking
  }

  async function askWithoutKey(): Promise<void> {
    const { verdict, status, isUnknownPath, error } = await ask(undefined)
    withoutKey = verdict
    if (verdict === 'unclear')
      log.warn(
        { url, status, err: error },
        'API_PROBE_PATH does not say whether it wants a key: until it does, none is called ready',
      )
    else if (verdict === 'accepted')
      log.warn(
        { url, status },
        'API_PROBE_PATH answers without a key, so nothing is said of keys being ready',
      )
    else if (isUnknownPath)
      log.warn({ url, status }, 'API_PROBE_PATH is no method of the API: it refuses every key')
  }

  /** Once: it may be that keys take long, but rather that the path refuses all. */
  function noteRefusal(): void {
    if (accepted.size > 0 || warned) return
    warned = true
    const hint = 'is its stage on the plan, and does nothing else there answer 401 or 403?'
    log.warn({ url }, `a wait ended, and API_PROBE_PATH has not let a single key through yet: ${hint}`)
  }

  async function lookUntil(key: KeyToProbe, until: () => number | null): Promise<boolean | null> {
    let isRefused = false
    const left = () => (stopping.signal.aborted ? 0 : (until() ?? 0) - performance.now())
    for (
      let pauseMs = FIRST_PAUSE_MS;
      left() > 0;
      pauseMs = Math.min(pauseMs * PAUSE_GROWTH, LONGEST_PAUSE_MS)
    ) {
      const isAccepted = await look(key, () => left() > 0)
      if (isAccepted) return true
      if (withoutKey === 'accepted') return null
      isRefused ||= isAccepted === false
      await pause(Math.min(pauseMs, left()), stopping.signal)
    }
    if (isRefused && !stopping.signal.aborted) noteRefusal()
    return false
  }

  return {
    wasAccepted: (keyId) => accepted.has(keyId),
    async isAccepted(key) {
      if (withoutKey === 'accepted') return null
      const latest = performance.now() + LOOK_MS
      return within(
        LOOK_MS,
        look(key, () => performance.now() < latest),
        null,
      )
    },
    async untilAccepted(key, until) {
      if (withoutKey === 'accepted') return null
      // The last probe may be slow: the answer is not.
      return within((until() ?? 0) - performance.now(), lookUntil(key, until), false)
    },
    checkPath,
    stopWaiting() {
      stopping.abort()
      line.close()
    },
  }
}

/** Ends early when `signal` aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(Math.max(0, ms), undefined, { signal }).catch(() => undefined)
}

/** What `work` answers, or `otherwise` if it takes longer than `ms`, or fails. */
async function within<T>(ms: number, work: Promise<T>, otherwise: T): Promise<T> {
  const done = new AbortController()
  try {
    return await Promise.race([work.catch(() => otherwise), pause(ms, done.signal).then(() => otherwise)])
  } finally {
    done.abort()
  }
}
