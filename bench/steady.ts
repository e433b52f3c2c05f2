// Measures registrations a second against an emulator without latency and quotas, in turn with the registration endpoint
// of oidc-provider on its in-memory store. firstkey stores registrations durably, the peer does not.
import { cpus } from 'node:os'
import { hammer, type Load } from './hammer.ts'
import { percentile } from './percentile.ts'
import { startProcess } from './process.ts'
import { startBenchServer } from './server.ts'

const CONNECTIONS = 50
const WARM_UP_S = 3
const ROUND_S = 5
const ROUNDS = 5

const gateway = await startProcess('emulator/main.ts', ['--port', '0', '--max-keys', '1000000'], {})
// This emulator has no quotas, so the service need not limit its calls.
const service = await startBenchServer(gateway.url, { AWS_CALLS_PER_SECOND: '0' })
const peer = await startProcess('bench/peer.ts', [], { PATH: process.env['PATH'] })

const json = { 'content-type': 'application/json' }
const loads = {
  firstkey: {
    url: `${service.url}/register`,
    headers: { ...json, authorization: `Bearer ${service.createToken()}` },
    body: '{"name":"bench-agent"}',
  },
  'oidc-provider': {
    url: `${peer.url}/reg`,
    headers: json,
    body: '{"client_name":"bench-agent","redirect_uris":["https://client.example.com/cb"]}',
  },
}

async function perSecond(load: Pick<Load, 'url' | 'headers' | 'body'>, seconds: number): Promise<number> {
  const counts = await hammer({ ...load, connections: CONNECTIONS, seconds })
  const failed = [...counts].filter(([status]) => status !== 201)
  if (failed.length > 0) throw new Error(`${load.url} returned ${JSON.stringify(failed)}`)
  return (counts.get(201) ?? 0) / seconds
}

const rates: Record<string, number[]> = { firstkey: [], 'oidc-provider': [] }
for (const load of Object.values(loads)) await perSecond(load, WARM_UP_S)
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, load] of Object.entries(loads)) rates[name]?.push(await perSecond(load, ROUND_S))
}
const memoryMb = service.memoryMb('peak')
await service.stop()
await peer.stop()
await gateway.stop()

console.log(`Node.js ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
console.log(`${CONNECTIONS} connections, ${ROUNDS} rounds of ${ROUND_S} s in turn; registrations a second\n`)
for (const [name, samples] of Object.entries(rates)) {
  const [median, low, high] = [percentile(samples, 0.5), Math.min(...samples), Math.max(...samples)]
  console.log(
    `${name.padEnd(14)} ${median.toFixed(0).padStart(6)}   (${low.toFixed(0)} to ${high.toFixed(0)})`,
  )
}
const ratio = percentile(rates['firstkey'] ?? [], 0.5) / percentile(rates['oidc-provider'] ?? [], 0.5)
console.log(`ratio ${ratio.toFixed(2)}${ratio < 1 ? '  MISSED: at least 1' : '  (bar: at least 1)'}`)
console.log(`peak memory of firstkey ${memoryMb.toFixed(0)} MB`)
if (ratio < 1) process.exitCode = 1
