import { floorOf } from './floor.ts'
import type { Row } from './measure.ts'
import { percentile } from './percentile.ts'
import { sum } from './sum.ts'

export const COLUMNS = [
  ...['agents', '', 'working key in 5 s', 'p50 s', 'p99 s', 'last s', 'floor s', '× floor'],
  ...['AWS calls each', '429', '409', 'stray keys', 'dead keys', 'refused', 'peak MB'],
]

/** The figures of a row of the table. */
interface Summary {
  /** Milliseconds until the agents that got a key had it, in no order. */
  readonly times: readonly number[]
  readonly callsEach: number
  readonly throttled: number
  readonly conflicts: number
  readonly stray: number
  readonly dead: number
  readonly refused: number
}

function summarize({ outcomes, working, state }: Row): Summary {
  const given = outcomes.filter(({ key }) => key !== undefined)
  const calls = Object.values(state.answers)
  const seen = (status: number) => sum(calls.map((byStatus) => byStatus[status] ?? 0))
  return {
    times: given.map(({ ms }) => ms),
    callsEach: sum(calls.flatMap((byStatus) => Object.values(byStatus))) / outcomes.length,
    throttled: seen(429),
    conflicts: seen(409),
    stray: state.keys.length - given.length,
    dead: given.length - working,
    refused: outcomes.length - given.length,
  }
}

/** The time of the last key as a multiple of the floor; of a single agent's repeated measurements, the median. */
export function ratioToFloor({ agents, outcomes }: Pick<Row, 'agents' | 'outcomes'>): number {
  const times = outcomes.map(({ ms, key }) => (key === undefined ? Number.POSITIVE_INFINITY : ms))
  return percentile(times, agents === 1 ? 0.5 : 1) / floorOf(agents).ms
}

/** Formats a row of the table, in the order of {@link COLUMNS}. */
export function cells(row: Row): string[] {
  const { name, agents, outcomes, good, memoryMb } = row
  const { times, callsEach, throttled, conflicts, stray, dead, refused } = summarize(row)
  const seconds = (value: number) => (Number.isNaN(value) ? '-' : (value / 1_000).toFixed(2))
  const ratio = ratioToFloor(row)
  return [
    String(agents),
    name,
    `${good} of ${outcomes.length}`,
    ...[0.5, 0.99, 1].map((share) => seconds(percentile(times, share))),
    seconds(floorOf(agents).ms),
    Number.isFinite(ratio) ? ratio.toFixed(2) : '-',
    callsEach.toFixed(3),
    ...[throttled, conflicts, stray, dead, refused].map(String),
    memoryMb === undefined ? '-' : memoryMb.toFixed(0),
  ]
}

/** Describes what a floor consists of, for the notes below the table. */
export function floorNote(agents: number): string {
  const { ms, imports, pages } = floorOf(agents)
  const calls =
    imports.length === 0
      ? 'CreateApiKey and CreateUsagePlanKey'
      : `imports of ${imports.join(', ')} and ${pages} pages of the check at once`
  return `floor of ${agents}: ${(ms / 1_000).toFixed(2)} s, ${calls}`
}

const MEMORY_MB = 400

/** The bars that a burst must meet, by the number of agents. */
export interface Bars {
  /** The last key's time as a multiple of the floor; the median of the rounds must not exceed it. */
  readonly ofFloor: Readonly<Record<number, number>>
  /** The calls to API Gateway for each agent must stay below this number. */
  readonly callsEach: Readonly<Record<number, number>>
}

/** Returns the bars that the rounds of one size miss. */
export function missedBars(rounds: readonly Row[], bars: Bars): string[] {
  const agents = rounds[0]?.agents ?? 0
  const summaries = rounds.map(summarize)
  const most = (figure: 'throttled' | 'stray' | 'dead' | 'callsEach') =>
    Math.max(...summaries.map((one) => one[figure]))
  const ratio = percentile(rounds.map(ratioToFloor), 0.5)
  const memoryMb = Math.max(...rounds.map((one) => one.memoryMb ?? 0))
  const { [agents]: ofFloor = Number.POSITIVE_INFINITY } = bars.ofFloor
  const { [agents]: callsBelow = Number.POSITIVE_INFINITY } = bars.callsEach
  const all: [held: boolean, text: string][] = [
    [most('throttled') === 0, 'no 429 from AWS'],
    [most('stray') === 0 && most('dead') === 0, 'no stray or dead keys'],
    [ratio <= ofFloor, `all within ${ofFloor} × the floor: ${ratio.toFixed(2)}`],
    [most('callsEach') < callsBelow, `calls each below ${callsBelow}`],
    [memoryMb < MEMORY_MB, `memory below ${MEMORY_MB} MB: ${memoryMb.toFixed(0)}`],
  ]
  return all.filter(([held]) => !held).map(([, text]) => text)
}
