import type { Row } from './measure.ts'
import { percentile } from './percentile.ts'
import { sum } from './sum.ts'

export const COLUMNS = [
  ...['agents', '', 'working key in 5 s', 'p50 s', 'p99 s', 'last s', 'AWS calls each', '429', '409'],
  ...['stray keys', 'dead keys', 'refused', 'peak MB'],
]

/** Formats a row of the table, in the order of {@link COLUMNS}. */
export function cells({ name, agents, outcomes, working, good, state, memoryMb }: Row): string[] {
  const given = outcomes.filter(({ key }) => key !== undefined)
  const times = given.map(({ ms }) => ms / 1_000)
  const calls = Object.values(state.answers)
  const seen = (status: number) => sum(calls.map((byStatus) => byStatus[status] ?? 0))
  const seconds = (value: number | undefined) =>
    value === undefined || Number.isNaN(value) ? '-' : value.toFixed(2)
  return [
    String(agents),
    name,
    `${good} of ${outcomes.length}`,
    seconds(percentile(times, 0.5)),
    seconds(percentile(times, 0.99)),
    seconds(times.length === 0 ? undefined : Math.max(...times)),
    (sum(calls.flatMap((byStatus) => Object.values(byStatus))) / outcomes.length).toFixed(3),
    String(seen(429)),
    String(seen(409)),
    String(state.keys.length - given.length),
    String(given.length - working),
    String(outcomes.length - given.length),
    memoryMb === undefined ? '-' : memoryMb.toFixed(0),
  ]
}

const MEMORY_MB = 400

/** The bars that a burst must meet, by the number of agents. */
export interface Bars {
  /** The milliseconds within which all agents have a key. */
  readonly allWithinMs: Readonly<Record<number, number>>
  /** The calls to API Gateway for each agent must stay below this number. */
  readonly callsEach: Readonly<Record<number, number>>
}

/** Returns the bars that a row misses. */
export function missedBars(row: Row, { allWithinMs, callsEach: callsEachBelow }: Bars): string[] {
  const [, , , , , , callsEach = '', throttled = '', , stray = '', dead = ''] = cells(row)
  const allWithin = allWithinMs[row.agents]
  const callsBelow = callsEachBelow[row.agents]
  const last = Math.max(
    ...row.outcomes.map(({ ms, key }) => (key === undefined ? Number.POSITIVE_INFINITY : ms)),
  )
  const bars: [held: boolean, text: string][] = [
    [throttled === '0', 'no 429 from AWS'],
    [stray === '0' && dead === '0', 'no stray or dead keys'],
    [allWithin === undefined || last <= allWithin, `all within ${(allWithin ?? 0) / 1_000} s`],
    [callsBelow === undefined || Number(callsEach) < callsBelow, `calls each below ${callsBelow}`],
    [row.memoryMb === undefined || row.memoryMb < MEMORY_MB, `memory below ${MEMORY_MB} MB`],
  ]
  return bars.filter(([held]) => !held).map(([, text]) => text)
}
