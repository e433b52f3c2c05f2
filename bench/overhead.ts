// Measures the service's own overhead at 10 registrations a second against an emulator without latency: latency of the first
// hundred requests after the start, which pay for compilation, and of those after them; cold start, and idle memory. The client
// measures latency over HTTP; own time is latency without the time that calls spent in the emulator. GET /livez, which does
// nothing, is sent between the registrations and shows the noise of the machine.
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { startGateway } from '../emulator/gateway.ts'
import { NO_ASSUMPTIONS } from './no-assumptions.ts'
import { percentile } from './percentile.ts'
import { type BenchServer, startBenchServer } from './server.ts'
import { createStopwatch, type Sample } from './stopwatch.ts'

const RATE_PER_S = 10
const START_UP = 100
const STEADY = 600
const WARM_UP = 2_000
const STARTS = 5

setFlagsFromString('--expose-gc')
/** Collects the garbage of this program, between requests: during one, that would count as the service's time. */
const collectGarbage = runInNewContext('gc') as () => void

const gateway = await startGateway()
const start = () => startBenchServer(gateway.url, { AWS_CALLS_PER_SECOND: '0' })

/** Returns functions that send one request each to a server, and measure it. */
function requestsTo(server: BenchServer) {
  const send = createStopwatch(gateway, server.url)
  const registration: RequestInit = {
    method: 'POST',
    headers: { authorization: `Bearer ${server.createToken()}`, 'content-type': 'application/json' },
    body: '{"name":"bench-agent"}',
  }
  return { register: () => send('/register', registration), livez: () => send('/livez') }
}
type Requests = ReturnType<typeof requestsTo>

interface Samples {
  readonly registrations: readonly Sample[]
  readonly livez: readonly Sample[]
}

/** Sends requests at a fixed rate, one at a time, so that the emulator's time belongs to the current request. */
async function measure({ register, livez }: Requests, count: number): Promise<Samples> {
  const startedAt = performance.now()
  const due = (i: number) => sleep(Math.max(0, startedAt + (i * 1_000) / RATE_PER_S - performance.now()))
  const samples = { registrations: [] as Sample[], livez: [] as Sample[] }
  for (let i = 0; i < count; i++) {
    await due(i)
    samples.registrations.push(await register())
    await due(i + 0.5)
    samples.livez.push(await livez())
    collectGarbage()
  }
  return samples
}

const coldStarts: number[] = []
for (let i = 0; i < STARTS; i++) {
  const server = await start()
  coldStarts.push(server.coldStartMs)
  if (i === STARTS - 1) {
    // Warms up the client and the emulator, whose compilation would count as the service's.
    const requests = requestsTo(server)
    for (let sent = 0; sent < WARM_UP; sent++) await requests.register()
  }
  await server.stop()
}

const server = await start()
await sleep(2_000)
const idleMb = server.memoryMb('now')
const requests = requestsTo(server)
const phases = {
  [`the first ${START_UP} requests`]: await measure(requests, START_UP),
  [`the next ${STEADY} requests`]: await measure(requests, STEADY),
}
const busyMb = server.memoryMb('now')
await server.stop()
await gateway.close()

let missed = false
function report(name: string, value: number, unit: string, bar?: number): void {
  const verdict =
    bar === undefined ? '' : value < bar ? `  (bar: below ${bar} ${unit})` : `  MISSED: below ${bar} ${unit}`
  missed ||= bar !== undefined && value >= bar
  console.log(`${name.padEnd(34)} ${value.toFixed(1).padStart(7)} ${unit}${verdict}`)
}

console.log(`Node.js ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
console.log(`${RATE_PER_S} registrations a second, durable SQLite store`)
console.log(NO_ASSUMPTIONS)
for (const [name, { registrations, livez }] of Object.entries(phases)) {
  const isSteady = registrations.length === STEADY
  const own = registrations.map((sample) => sample.total - sample.gateway)
  const totals = registrations.map((sample) => sample.total)
  const idle = livez.map((sample) => sample.total)
  console.log(`\n${name}`)
  for (const [label, p] of [
    ['p50', 0.5],
    ['p99', 0.99],
  ] as const) {
    report(
      `registration, own time, ${label}`,
      percentile(own, p),
      'ms',
      isSteady && p === 0.99 ? 10 : undefined,
    )
    report(`  with the emulator’s share, ${label}`, percentile(totals, p), 'ms')
    report(`GET /livez, ${label}`, percentile(idle, p), 'ms')
  }
}
console.log()
report(`cold start to /readyz 200, median of ${STARTS}`, percentile(coldStarts, 0.5), 'ms', 600)
report('memory, idle', idleMb, 'MB', 130)
report('memory, after the registrations', busyMb, 'MB')
if (missed) process.exitCode = 1
