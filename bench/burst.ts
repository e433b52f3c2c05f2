// Measures agents that register at the same time, against an emulator with the published quotas and assumed latencies:
// firstkey and a plain implementation, or with --replicas or --store several firstkey processes on one store. Each key is
// then tried on the data plane. Beside each result stands the floor that the assumed latencies allow, and the ratio to it.
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { ALONE_TIMES, measure, type Row } from './measure.ts'
import { percentile } from './percentile.ts'
import { replicas } from './replicas.ts'
import { type Bars, COLUMNS, cells, floorNote, missedBars } from './report.ts'
import { isStoreKind } from './shared-store.ts'
import { firstkey, plain, type StartSubject } from './subjects.ts'

const SIZES = [1, 10, 50, 1_000, 10_000]
/** The bars for one firstkey process. */
const BARS: Bars = { ofFloor: { 1000: 1.35, 10000: 1.25 }, callsEach: { 1000: 0.02 } }
/** The bars for several processes on one store. Their imports collide, and retries cost calls. */
const SHARED_BARS: Bars = { ofFloor: { 1000: 6 }, callsEach: {} }
/** The rounds of firstkey for a size whose bar is a ratio: the assumed latencies vary by ±30 %, and so does one round. */
const ROUNDS = 3
/** The most milliseconds that one agent alone may take beyond the plain implementation, which only makes the two calls. */
const OWN_MS = 5

const { values } = parseArgs({
  options: { agents: { type: 'string' }, replicas: { type: 'string' }, store: { type: 'string' } },
})
const sizes = values.agents === undefined ? SIZES : [Number(values.agents)]
const isShared = values.replicas !== undefined || values.store !== undefined
const bars = isShared ? SHARED_BARS : BARS
const columns = isShared ? [...COLUMNS, '409 concurrent change'] : COLUMNS
const subjects: Record<string, StartSubject> = isShared ? sharing() : { firstkey, plain }

function sharing(): Record<string, StartSubject> {
  const count = Number(values.replicas ?? 1)
  const store = values.store ?? 'sqlite'
  if (!Number.isInteger(count) || count < 1) throw new Error('--replicas must be a whole number from 1')
  if (!isStoreKind(store)) throw new Error('--store must be sqlite or dynamodb')
  return { [`firstkey × ${count} on ${store}`]: replicas(count, store) }
}

console.log(`Node.js ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
console.log("API Gateway's latencies are assumptions: AWS publishes none (docs/performance.md).\n")
console.log(`| ${columns.join(' | ')} |\n|${' --- |'.repeat(columns.length)}`)
const notes: string[] = []
const missed = (agents: number, bar: string) => {
  notes.push(`MISSED at ${agents}: ${bar}`)
  process.exitCode = 1
}
for (const agents of sizes) {
  notes.push(floorNote(agents))
  const own: Record<string, number> = {}
  for (const [name, start] of Object.entries(subjects)) {
    const rounds: Row[] = []
    while (rounds.length < (name !== 'plain' && agents in bars.ofFloor ? ROUNDS : 1)) {
      const row = await measure(name, start, agents)
      rounds.push(row)
      const concurrent = isShared ? [String(row.state.concurrentChanges)] : []
      console.log(`| ${[...cells(row), ...concurrent].join(' | ')} |`)
      if (row.own.length === 0) continue
      own[name] = percentile(row.own, 0.5)
      const [p50, p99] = [0.5, 0.99].map((share) => percentile(row.own, share).toFixed(1))
      notes.push(
        `${name}, one agent alone, ${ALONE_TIMES} times: p50 ${p50}, p99 ${p99} ms beyond the emulator's share`,
      )
    }
    if (name !== 'plain') for (const bar of missedBars(rounds, bars)) missed(agents, bar)
  }
  const { firstkey = 0, plain = 0 } = own
  if (firstkey > plain + OWN_MS) missed(agents, `at most ${OWN_MS} ms slower than plain`)
}
console.log(`\n${notes.join('\n')}`)
