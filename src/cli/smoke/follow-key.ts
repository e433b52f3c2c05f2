import { setTimeout as sleep } from 'node:timers/promises'
import type { createProbe, Verdict } from '../../aws/probe.ts'

/** Sends one request to the API. */
export type Probe = ReturnType<typeof createProbe>

/** The data plane's change of mind about one key. Times are milliseconds since the change in API Gateway. */
export interface Turn {
  /** The first request after which the new verdict was there. `null`: it never was. */
  readonly firstMs: number | null
  /** The last request for which the old verdict still held, also after `firstMs`. `null`: it never did. */
  readonly lastMs: number | null
  /** {@link IN_A_ROW} requests in a row got the new verdict. */
  readonly settled: boolean
  readonly requests: number
  /** The requests that proved neither, as a 429 does. */
  readonly unclear: number
}

/** Requests in a row with the same verdict after which it counts: API Gateway has many machines, and they learn at different times. */
export const IN_A_ROW = 5
/** The pause between two requests is this part of the time so far, within these limits (ms). */
const PAUSE_SHARE = 0.1
const SHORTEST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 2_000
const REQUEST_TIMEOUT_MS = 5_000

export interface FollowOptions {
  readonly probe: Probe
  /** The longest time to wait for the new verdict, in milliseconds. */
  readonly waitMs: number
  /** The shortest pause that the plan's rate allows, in milliseconds. */
  readonly spacingMs: number
  readonly stop: AbortSignal
}

/**
 * Sends requests with a key until the data plane has the new verdict, the time is over, or `stop` aborts. Never throws.
 * @param since the time of the change, on the clock of `performance.now()`
 */
export async function followKey(
  { probe, waitMs, spacingMs, stop }: FollowOptions,
  value: string,
  wanted: Exclude<Verdict, 'unclear'>,
  since: number,
): Promise<Turn> {
  let [firstMs, lastMs] = [null as number | null, null as number | null]
  let [inARow, requests, unclear] = [0, 0, 0]
  const elapsed = () => performance.now() - since
  // Where the last request in time got the new verdict, the others of its row may follow.
  const limitMs = () => waitMs + (inARow > 0 ? IN_A_ROW * Math.max(spacingMs, LONGEST_PAUSE_MS) : 0)
  while (inARow < IN_A_ROW && !stop.aborted && elapsed() < limitMs()) {
    const sentMs = elapsed()
    const signal = AbortSignal.any([stop, AbortSignal.timeout(REQUEST_TIMEOUT_MS)])
    const { verdict } = await probe(value, signal)
    if (stop.aborted) break
    requests += 1
    if (verdict === wanted) {
      firstMs ??= elapsed()
      inARow += 1
    } else if (verdict === 'unclear') unclear += 1
    else [lastMs, inARow] = [sentMs, 0]
    const pause = inARow > 0 ? SHORTEST_PAUSE_MS : elapsed() * PAUSE_SHARE
    const limited = Math.max(spacingMs, SHORTEST_PAUSE_MS, Math.min(pause, LONGEST_PAUSE_MS))
    if (inARow < IN_A_ROW) await sleep(limited, undefined, { signal: stop }).catch(() => undefined)
  }
  return { firstMs, lastMs, settled: inARow >= IN_A_ROW, requests, unclear }
}
