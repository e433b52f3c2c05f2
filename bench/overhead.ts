// Measures the service's own overhead: latency at 10 registrations a second against an emulator without latency, cold
// start, and idle memory. The client measures latency over HTTP; own time is latency without the time that calls spent in
// the emulator. GET /livez, which does nothing, shows the noise of the machine.
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { startGateway } from '../emulator/gateway.ts'
import { percentile } from './percentile.ts'
import { startBenchServer } from './server.ts'
import { createStopwatch, type Sample } from './stopwatch.ts'

const RATE_PER_S = 10
const SECONDS = 30
const WARM_UP = 200
const STARTS = 5

const gateway = await startGateway()
const coldStarts: number[] = []
for (let i = 0; i < STARTS; i++) {
  const server = await startBenchServer(gateway.url, { AWS_CALLS_PER_SECOND: '0' })
  coldStarts.push(server.coldStartMs)
  await server.stop()
}

const server = await startBenchServer(gateway.url, { AWS_CALLS_PER_SECOND: '0' })
await sleep(2_000)
const idleMb = server.memoryMb('now')
const secret = server.createToken()

const send = createStopwatch(gateway, server.url)

/** Sends requests at a fixed rate, one at a time, so that the emulator's time belongs to the current request. */
async function measure(path: string, init?: RequestInit): Promise<Sample[]> {
  for (let i = 0; i < WARM_UP; i++) await send(path, init)
  const startedAt = performance.now()
  const samples: Sample[] = []
  for (let i = 0; i < RATE_PER_S * SECONDS; i++) {
    await sleep(Math.max(0, startedAt + (i * 1_000) / RATE_PER_S - performance.now()))
    samples.push(await send(path, init))
  }
  return samples
}

const registrations = await measure('/register', {
  method: 'POST',
  headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
  body: '{"name":"bench-agent"}',
})
const busyMb = server.memoryMb('now')
const floor = await measure('/livez')
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
console.log(`${registrations.length} registrations at ${RATE_PER_S} a second, durable SQLite store\n`)
const own = registrations.map((sample) => sample.total - sample.gateway)
const totals = registrations.map((sample) => sample.total)
const idle = floor.map((sample) => sample.total)
report('registration, own time, p50', percentile(own, 0.5), 'ms')
report('registration, own time, p99', percentile(own, 0.99), 'ms', 10)
report('  with the emulator’s share, p50', percentile(totals, 0.5), 'ms')
report('  with the emulator’s share, p99', percentile(totals, 0.99), 'ms')
report('GET /livez in the same run, p50', percentile(idle, 0.5), 'ms')
report('GET /livez in the same run, p99', percentile(idle, 0.99), 'ms')
report(`cold start to /readyz 200, median of ${STARTS}`, percentile(coldStarts, 0.5), 'ms', 600)
report('memory, idle', idleMb, 'MB', 130)
report('memory, after the registrations', busyMb, 'MB')
if (missed) process.exitCode = 1
