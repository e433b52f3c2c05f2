/** The longest period for which repeats are counted, as a multiple of the first. Each is twice as long as the one before. */
const LONGEST_PERIOD = 10
/** The most networks of which the same refusal is counted one by one. Those beyond are counted together. */
const MAX_NETWORKS = 20
/** The most counts that are kept at once, of all refusals. */
const MAX_COUNTS = 10_000
/** The name under which networks are counted together. */
const OTHERS = null

/** The repeats of one refusal in one period. */
export interface Repeats<T> {
  /** The refusal that was repeated: the first of the count. */
  readonly refusal: T
  /** The network of its clients; `null`: several. */
  readonly network: string | null
  readonly count: number
  /** The length of the period (ms). */
  readonly ms: number
}

export interface RefusalCounts<T> {
  /**
   * Takes note of a refusal.
   * @param name what makes two refusals the same, except their networks
   * @returns `true`: it is the first; `false`: it is a repeat, which is reported at the end of its period
   */
  isFirst(name: string, network: string, refusal: T): boolean
  /** Ends all periods now. */
  end(): void
}

interface Count<T> {
  readonly refusal: T
  readonly network: string | null
  periodMs: number
  startedAt: number
  repeats: number
  timer: NodeJS.Timeout
  /** Reports the repeats so far, and forgets the count. */
  readonly end: () => void
}

/**
 * Counts repeated refusals instead of reporting each: for a period after the first, then for longer ones, until a period has
 * no repeat. So the reports of one refusal are few, whatever its rate and the number of its addresses.
 * @param firstPeriodMs the length of the first period
 * @param report is called with the repeats of a period
 */
export function createRefusalCounts<T>(
  firstPeriodMs: number,
  report: (repeats: Repeats<T>) => void,
): RefusalCounts<T> {
  const counts = new Map<string, Map<string | null, Count<T>>>()
  /** All counts, the oldest first. */
  const all = new Set<Count<T>>()

  function begin(name: string, network: string | null, refusal: T): void {
    const [oldest] = all
    if (all.size >= MAX_COUNTS) oldest?.end()
    const ofName = counts.get(name) ?? new Map<string | null, Count<T>>()
    const one: Count<T> = {
      ...{ refusal, network, periodMs: firstPeriodMs, startedAt: performance.now(), repeats: 0 },
      timer: setTimeout(() => endPeriod(one), firstPeriodMs).unref(),
      end() {
        clearTimeout(one.timer)
        reportRepeats(one)
        all.delete(one)
        ofName.delete(network)
        if (ofName.size === 0) counts.delete(name)
      },
    }
    counts.set(name, ofName.set(network, one))
    all.add(one)
  }

  function endPeriod(one: Count<T>): void {
    if (one.repeats === 0) {
      one.end()
      return
    }
    reportRepeats(one)
    one.repeats = 0
    one.startedAt = performance.now()
    one.periodMs = Math.min(2 * one.periodMs, LONGEST_PERIOD * firstPeriodMs)
    one.timer = setTimeout(() => endPeriod(one), one.periodMs).unref()
  }

  function reportRepeats({ refusal, network, repeats: count, startedAt }: Count<T>): void {
    if (count > 0) report({ refusal, network, count, ms: performance.now() - startedAt })
  }

  return {
    isFirst(name, network, refusal) {
      const ofName = counts.get(name)
      const isOther = ofName !== undefined && !ofName.has(network) && ofName.size >= MAX_NETWORKS
      const one = ofName?.get(isOther ? OTHERS : network)
      if (one === undefined) begin(name, isOther ? OTHERS : network, refusal)
      else one.repeats += 1
      return one === undefined
    },
    end() {
      for (const one of all) one.end()
    },
  }
}
