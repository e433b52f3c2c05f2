// Agents that arrive together, against a gateway with the published quotas and realistic latencies: firstkey and,
// beside it, a plain implementation. What each agent was given is tried on the data plane.
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pLimit from 'p-limit'
import { letLoose, type Outcome } from './agents.ts'
import { percentile } from './percentile.ts'
import { type BenchProcess, startProcess } from './process.ts'
import { gatewayEnv, startBenchServer } from './server.ts'

const GOOD_MS = 5_000
const SIZES = [1, 10, 50, 1_000, 10_000]
/** One agent alone is measured so often, one after the other: a single time would be the luck of the latencies. */
const ALONE_TIMES = 30

interface State {
  readonly keys: { id: string; name: string }[]
  readonly answers: Record<string, Record<string, number>>
  readonly busyMs: Record<string, number>
}

interface Row {
  readonly name: string
  readonly agents: number
  readonly outcomes: readonly Outcome[]
  readonly working: number
  readonly good: number
  readonly state: State
  readonly memoryMb: number | undefined
  /** One agent alone: its time less the time that its two calls took at the gateway, in milliseconds. */
  readonly own: readonly number[]
}

interface Subject {
  readonly url: string
  secret(): string
  memoryMb(): number | undefined
  stop(): Promise<void>
}

const subjects: Record<string, (gateway: BenchProcess) => Promise<Subject>> = {
  async firstkey(gateway) {
    const server = await startBenchServer(gateway.url)
    return {
      url: server.url,
      secret: () => server.createToken(),
      memoryMb: () => server.memoryMb('peak'),
      stop: () => server.stop(),
    }
  },
  async plain(gateway) {
    const env = { PATH: process.env['PATH'], ...gatewayEnv(gateway.url) }
    const server = await startProcess('bench/plain.ts', [], env)
    return { url: server.url, secret: () => 'none', memoryMb: () => undefined, stop: () => server.stop() }
  },
}

async function readState(gateway: BenchProcess): Promise<State> {
  return (await (await fetch(`${gateway.url}/_local/state`)).json()) as State
}

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0)

async function measure(name: string, agents: number): Promise<Row> {
  const gateway = await startProcess('src/local/main.ts', ['--port', '0', '--quotas', '--latency'], {})
  const start = subjects[name]
  if (start === undefined) throw new Error(`there is no ${name}`)
  const subject = await start(gateway)
  const secret = subject.secret()
  // The process is idle, and has not yet done what is measured.
  await sleep(2_000)
  const before = await readState(gateway)
  const outcomes: Outcome[] = []
  const own: number[] = []
  if (agents > 1) outcomes.push(...(await letLoose(subject.url, secret, agents)))
  else {
    for (let i = 0; i < ALONE_TIMES; i++) {
      const [{ busyMs: earlier }] = [await readState(gateway)]
      const [outcome] = await letLoose(subject.url, secret, 1)
      if (outcome === undefined) continue
      const { busyMs } = await readState(gateway)
      const calls = ['CreateApiKey', 'CreateUsagePlanKey']
      outcomes.push(outcome)
      own.push(outcome.ms - sum(calls.map((call) => (busyMs[call] ?? 0) - (earlier[call] ?? 0))))
      await sleep(300) // The quotas refill.
    }
  }
  // What goes on behind the answers comes to an end, and a clean-up has the time that it needs.
  await sleep(3_000)
  const line = pLimit(50)
  const works = await Promise.all(outcomes.map((outcome) => line(() => opens(gateway.url, outcome))))
  const after = await readState(gateway)
  const memoryMb = subject.memoryMb()
  await subject.stop()
  await gateway.stop()
  const answers: State['answers'] = {}
  for (const [operation, byStatus] of Object.entries(after.answers)) {
    const earlier = before.answers[operation] ?? {}
    answers[operation] = Object.fromEntries(
      Object.entries(byStatus).map(([status, count]) => [status, count - (earlier[status] ?? 0)]),
    )
  }
  return {
    name,
    agents,
    outcomes,
    working: works.filter(Boolean).length,
    good: works.filter((ok, i) => ok && (outcomes[i]?.ms ?? Number.POSITIVE_INFINITY) <= GOOD_MS).length,
    state: { ...after, answers },
    memoryMb,
    own,
  }
}

async function opens(gatewayUrl: string, { key }: Outcome): Promise<boolean> {
  if (key === undefined) return false
  const answer = await fetch(`${gatewayUrl}/execute-api/demo/prod/hello`, { headers: { 'x-api-key': key } })
  await answer.arrayBuffer()
  return answer.status === 200
}

const COLUMNS = [
  ...['agents', '', 'working key in 5 s', 'p50 s', 'p99 s', 'last s', 'AWS calls each', '429', '409'],
  ...['stray keys', 'dead keys', 'refused', 'peak MB'],
]

function cells({ name, agents, outcomes, working, good, state, memoryMb }: Row): string[] {
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

/** What firstkey has to reach, by the number of agents: everybody within so many milliseconds. */
const ALL_WITHIN_MS: Record<number, number> = { 1000: 2_000, 10000: 5_000 }
/** One alone: no slower than the plain implementation, which does the two calls and nothing else, and so much. */
const OWN_MS = 5
const CALLS_EACH_AT_1000 = 0.02
const MEMORY_MB = 400

function missedBars(row: Row): string[] {
  const [, , , , , , callsEach = '', throttled = '', , stray = '', dead = ''] = cells(row)
  const allWithin = ALL_WITHIN_MS[row.agents]
  const last = Math.max(
    ...row.outcomes.map(({ ms, key }) => (key === undefined ? Number.POSITIVE_INFINITY : ms)),
  )
  const bars: [held: boolean, text: string][] = [
    [throttled === '0', 'no 429 from AWS'],
    [stray === '0' && dead === '0', 'no stray and no dead key'],
    [allWithin === undefined || last <= allWithin, `all within ${(allWithin ?? 0) / 1_000} s`],
    [
      row.agents !== 1_000 || Number(callsEach) < CALLS_EACH_AT_1000,
      `calls each below ${CALLS_EACH_AT_1000}`,
    ],
    [row.memoryMb === undefined || row.memoryMb < MEMORY_MB, `memory below ${MEMORY_MB} MB`],
  ]
  return bars.filter(([held]) => !held).map(([, text]) => text)
}

const { values } = parseArgs({ options: { agents: { type: 'string' } } })
const sizes = values.agents === undefined ? SIZES : [Number(values.agents)]

console.log(`Node.js ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}\n`)
console.log(`| ${COLUMNS.join(' | ')} |\n|${' --- |'.repeat(COLUMNS.length)}`)
const notes: string[] = []
const missed = (agents: number, bar: string) => {
  notes.push(`MISSED at ${agents}: ${bar}`)
  process.exitCode = 1
}
for (const agents of sizes) {
  const own: Record<string, number> = {}
  for (const name of Object.keys(subjects)) {
    const row = await measure(name, agents)
    console.log(`| ${cells(row).join(' | ')} |`)
    if (row.own.length > 0) {
      own[name] = percentile(row.own, 0.5)
      const [p50, p99] = [0.5, 0.99].map((share) => percentile(row.own, share).toFixed(1))
      notes.push(
        `${name}, one alone ${ALONE_TIMES} times: p50 ${p50}, p99 ${p99} ms beyond the gateway's part`,
      )
    }
    if (name === 'firstkey') for (const bar of missedBars(row)) missed(agents, bar)
  }
  const { firstkey = 0, plain = 0 } = own
  if (firstkey > plain + OWN_MS) missed(agents, `the two calls and ${OWN_MS} ms`)
}
console.log(`\n${notes.join('\n')}`)
