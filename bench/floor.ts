import { assumptions } from '../emulator/options.ts'

/** The most keys in one import: the default of MINT_BATCH_MAX. */
const IMPORT_MAX = 2_500
/** The most keys on one page of GetApiKeys or GetUsagePlanKeys. */
const PAGE_SIZE = 500
/** The lists that a checked key must be on: enabled in GetApiKeys, attached in GetUsagePlanKeys. */
const LISTS = 2

/** The least time in which API Gateway, with the assumed latencies, lets agents that come together have checked keys. */
export interface Floor {
  readonly ms: number
  /** The sizes of the imports, one after the other; none: the two calls of a single agent are faster. */
  readonly imports: readonly number[]
  /** The pages of the last import's check, all read at once. */
  readonly pages: number
}

/**
 * Derives the floor for `agents` that all arrive at time 0, of a service that needs no time of its own:
 *
 * - API Gateway makes one change at a time, so imports follow each other. As few as `MINT_BATCH_MAX` allows are fastest: each
 *   costs 220 ms, and each key 0.5 ms, in whichever import it is. 1,000 agents: 220 + 500 = 720 ms; 10,000: 4 × 220 + 5,000 = 5,880 ms.
 * - The check of an import runs beside the next import; only the last one adds its time. Its pages of 500 keys, from two
 *   lists, are read at once, 90 ms each, and the slowest decides. Each latency is drawn evenly from ±30 %, so the slowest of n
 *   takes 90 × (1 + 0.3 × (n − 1) / (n + 1)) ms on average: 106 ms for the 4 pages of 1,000 keys, 112 ms for the 10 of 2,500.
 * - For a single agent CreateApiKey and CreateUsagePlanKey are faster, 110 + 160 = 270 ms: their responses are the check.
 *
 * The quota of 10 calls a second with a burst of 40 costs nothing: a full import and its pages are 11 calls in 1.47 s.
 * These are means: in one run the sum of the imports may be some 10 % less or more.
 */
export function floorOf(agents: number): Floor {
  const { latency, importPerKeyMs } = assumptions
  const imports = Array.from({ length: Math.ceil(agents / IMPORT_MAX) }, (_, i) =>
    Math.min(IMPORT_MAX, agents - i * IMPORT_MAX),
  )
  const pages = LISTS * Math.ceil((imports.at(-1) ?? 0) / PAGE_SIZE)
  const importing = imports.length * latency.ImportApiKeys + agents * importPerKeyMs
  const bulk = { ms: importing + slowestOf(pages, latency.GetApiKeys), imports, pages }
  const single = { ms: latency.CreateApiKey + agents * latency.CreateUsagePlanKey, imports: [], pages: 0 }
  return single.ms < bulk.ms ? single : bulk
}

/** The mean of the longest of `count` latencies that are drawn evenly around `mean`. */
function slowestOf(count: number, mean: number): number {
  return mean * (1 + (assumptions.latencyJitter * (count - 1)) / (count + 1))
}
