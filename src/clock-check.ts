import type { Clock } from './clock.ts'
import type { Log } from './log.ts'

/** The difference (ms) from AWS's clock beyond which the own clock counts as wrong. */
const TOLERANCE_MS = 60_000
/** The time for which an answer of AWS proves that the own clock is right (ms). */
const REUSE_MS = 5 * 60_000
/** The own clock was set if it moved by this much more or less (ms) than the monotonic clock. What AWS said is then void. */
const STEP_MS = 1_000
/** `Date` is cut to whole seconds. */
const RESOLUTION_MS = 1_000
/** An answer that took longer (ms) says too little about the time. */
const LONGEST_ROUND_TRIP_MS = 10_000

/**
 * Receives the `Date` of an answer of AWS, as soon as its head has arrived.
 * @param sentAt the time at which the request was sent, on the clock of `performance.now()`
 */
export type DateObserver = (date: string | undefined, sentAt: number) => void

/** The own clock, compared with AWS's. */
export interface ClockCheck {
  /** The time of the own clock, or that of AWS while AWS's answers show that the own clock is wrong. */
  readonly now: Clock
  readonly observe: DateObserver
  /**
   * Returns the time for work that deletes by the clock: it has come by the own clock and by AWS's. Asks AWS if its latest
   * answer is too old, or if the own clock was set since.
   * @returns `undefined`: the clocks differ by more than a minute, or AWS does not answer. Such work has to wait.
   */
  certainNow(): Promise<number | undefined>
  /** Returns by how much the own clock is ahead of AWS's, in milliseconds; negative: behind; 0: by less than a minute. */
  ahead(): number
}

export interface ClockCheckDeps {
  readonly clock: Clock
  /** Makes a cheap call to AWS, whose answer is observed. */
  readonly ask: () => Promise<unknown>
  readonly log: Log
}

/** An answer of AWS. Offsets are milliseconds from the clock of `performance.now()`. */
interface Observation {
  readonly receivedAt: number
  /** The offset of AWS's clock, at least and at most. */
  readonly earliest: number
  readonly latest: number
  /** The offset of the own clock. */
  readonly own: number
}

/**
 * Creates the check. AWS's time is counted on from its latest answer by the monotonic clock, so that a step of the own clock
 * shows.
 */
export function createClockCheck({ clock, ask, log }: ClockCheckDeps): ClockCheck {
  let observed: Observation | undefined
  let isLoggedAs: 'right' | 'wrong' | 'unknown' = 'right'
  let asking: Promise<void> | undefined

  const ownOffset = () => clock() - performance.now()

  /** The latest observation, unless the own clock was set since. */
  function valid(): Observation | undefined {
    return observed && Math.abs(ownOffset() - observed.own) < STEP_MS ? observed : undefined
  }

  function fresh(): Observation | undefined {
    const one = valid()
    return one && performance.now() - one.receivedAt < REUSE_MS ? one : undefined
  }

  function ahead(): number {
    const aws = valid()
    if (aws === undefined) return 0
    const own = ownOffset()
    if (own > aws.latest + TOLERANCE_MS) return own - aws.latest
    return own < aws.earliest - TOLERANCE_MS ? own - aws.earliest : 0
  }

  /** Logs a change of what is known about the own clock. */
  function report(state: typeof isLoggedAs, err?: unknown): void {
    if (state === isLoggedAs) return
    isLoggedAs = state
    if (state === 'right') log.info({}, 'the clock agrees with AWS again')
    else if (state === 'unknown')
      log.warn({ err }, 'the clock cannot be compared with AWS: nothing is deleted by the clock')
    else
      log.error(
        { clock_ahead_seconds: Math.round(ahead() / 1_000) },
        'the clock of this machine is wrong: nothing is deleted by the clock until it agrees with AWS',
      )
  }

  function askOnce(): Promise<void> {
    asking ??= ask()
      .then(
        () => undefined,
        (err: unknown) => err, // A refusal has a `Date` too.
      )
      .then((err) => {
        asking = undefined
        if (fresh() === undefined) report('unknown', err)
      })
    return asking
  }

  return {
    now() {
      const aws = valid()
      return aws === undefined || ahead() === 0 ? clock() : Math.floor(aws.earliest + performance.now())
    },
    observe(date, sentAt) {
      const receivedAt = performance.now()
      const at = Date.parse(date ?? '')
      if (Number.isNaN(at) || receivedAt - sentAt > LONGEST_ROUND_TRIP_MS) return
      observed = {
        receivedAt,
        earliest: at - receivedAt,
        latest: at + RESOLUTION_MS - sentAt,
        own: ownOffset(),
      }
      report(ahead() === 0 ? 'right' : 'wrong')
    },
    async certainNow() {
      if (fresh() === undefined) await askOnce()
      const aws = fresh()
      if (aws === undefined || ahead() !== 0) return undefined
      return Math.floor(Math.min(clock(), aws.earliest + performance.now()))
    },
    ahead,
  }
}
