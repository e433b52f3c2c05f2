// Measures agents from the first byte of their registration to the first 200 of the protected API, against an emulator whose
// data plane accepts a key 30 s after it was made: firstkey with a pool of keys made beforehand, without it, and a plain
// implementation. The emulator has the published quotas; its latencies, and the 30 s, are assumptions.
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type FirstUse, useAtOnce } from './first-use.ts'
import { floorOf } from './floor.ts'
import { percentile } from './percentile.ts'
import { type BenchProcess, startProcess } from './process.ts'
import { apiUrlOf } from './server.ts'
import { firstkey, type Pooled, plain, pooled, type Subject } from './subjects.ts'
import { warmUp } from './warm-up.ts'

const SIZES = [1, 10, 50, 200]
const PROPAGATION_MS = 30_000
/** The bars for the pool, with this number of agents at once. */
const BARS = { agents: 50, p50Ms: 25, p99Ms: 100 }
const COLUMNS = [
  ...[
    'agents',
    '',
    'let in',
    'with the first request',
    'p50 ms',
    'p99 ms',
    'last ms',
    'floor ms',
    'p50 / floor',
  ],
  'AWS calls before the answer',
]

const { values } = parseArgs({ options: { agents: { type: 'string' } } })
const sizes = values.agents === undefined ? SIZES : [Number(values.agents)]
const poolSize = Math.max(...sizes)
const POOLED = 'firstkey, POOL'
const subjects: Record<string, (gateway: BenchProcess) => Promise<Subject & Partial<Pooled>>> = {
  [POOLED]: (gateway) => pooled(gateway, poolSize),
  firstkey,
  plain,
}

/** A call to the control plane, from `/_local/calls`. */
interface Call {
  readonly operation: string
  readonly path: string
  readonly at: number
}

console.log(`Node.js ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
console.log(
  `Assumptions: a key needs ${PROPAGATION_MS / 1_000} s to the data plane, and the latencies of emulator/options.ts. AWS publishes neither.`,
)
console.log(
  'The floor is the least time that they allow a key which is made after the request; one of the pool waits for neither.\n',
)
console.log(`| ${COLUMNS.join(' | ')} |\n|${' --- |'.repeat(COLUMNS.length)}`)
const notes: string[] = []
for (const [name, start] of Object.entries(subjects)) {
  const emulator = ['--port', '0', '--quotas', '--latency', '--propagation', String(PROPAGATION_MS)]
  const gateway = await startProcess('emulator/main.ts', emulator, {})
  const subject = await start(gateway)
  const [url = ''] = subject.urls
  const secret = subject.secret()
  const apiUrl = apiUrlOf(gateway.url)
  await warmUp(gateway.url)
  for (const agents of sizes) {
    await settled(gateway, subject)
    const urls = Array.from({ length: agents }, () => url)
    const uses = await useAtOnce(urls, secret, apiUrl)
    report(name, uses, await readCalls(gateway))
  }
  await subject.stop()
  await gateway.stop()
}
console.log(`\n${notes.join('\n')}`)

/**
 * Waits until nothing called API Gateway for a second, so that no work of before counts as work for the next agents.
 * A pool is full then.
 */
async function settled(gateway: BenchProcess, { readyKeys }: Partial<Pooled>): Promise<void> {
  for (;;) {
    await sleep(100)
    const last = (await readCalls(gateway)).at(-1)?.at ?? 0
    const isQuiet = Date.now() - last > 1_000
    if (isQuiet && (readyKeys === undefined || (await readyKeys()) >= poolSize)) return
  }
}

async function readCalls(gateway: BenchProcess): Promise<Call[]> {
  return (await (await fetch(`${gateway.url}/_local/calls`)).json()) as Call[]
}

function report(name: string, uses: readonly FirstUse[], calls: readonly Call[]): void {
  const times = uses.flatMap(({ ms }) => ms ?? [])
  const [p50, p99, last] = [0.5, 0.99, 1].map((share) => percentile(times, share))
  const isPooled = name === POOLED
  const floorMs = floorOf(uses.length).ms + PROPAGATION_MS
  const before = Math.max(...uses.map((use) => callsBefore(use, calls)))
  const ms = (value = Number.NaN) => (Number.isNaN(value) ? '-' : value.toFixed(1))
  const row = [
    ...[String(uses.length), name, String(times.length), String(uses.filter(isAtOnce).length)],
    ...[ms(p50), ms(p99), ms(last)],
    ...(isPooled ? ['-', '-'] : [ms(floorMs), ((p50 ?? Number.NaN) / floorMs).toFixed(2)]),
    `${before}`,
  ]
  console.log(`| ${row.join(' | ')} |`)
  if (!isPooled) return
  const { agents, p50Ms, p99Ms } = BARS
  const bars: [held: boolean, text: string][] = [
    [uses.every(isAtOnce), 'every key works with its first request'],
    [before === 0, 'no AWS call before an answer'],
    [uses.length !== agents || (p50 ?? Number.NaN) < p50Ms, `median below ${p50Ms} ms`],
    [uses.length !== agents || (p99 ?? Number.NaN) < p99Ms, `99th percentile below ${p99Ms} ms`],
  ]
  for (const [held, text] of bars) {
    if (held) continue
    notes.push(`MISSED at ${uses.length}: ${text}`)
    process.exitCode = 1
  }
}

function isAtOnce({ ms, tries }: FirstUse): boolean {
  return ms !== undefined && tries === 1
}

/** The most that an agent waited for: calls between its request and its response, except those for the keys of others. */
function callsBefore({ sentAt, answeredAt, keyId }: FirstUse, calls: readonly Call[]): number {
  return calls.filter(({ at, path }) => {
    const [, ofKey] = path.match(/^\/apikeys\/([^/]+)/) ?? []
    return at >= sentAt && at <= answeredAt && (ofKey === undefined || ofKey === keyId)
  }).length
}
