// Measures registrations a second against an emulator without latency and quotas, in turn with two peers: the client
// registration of oidc-provider on its in-memory store, and Keycloak's with an initial access token on its embedded database in
// a file. firstkey flushes every registration to disk twice; Keycloak's database writes a commit within half a second, without a
// flush; oidc-provider stores nothing.
import { cpus } from 'node:os'
import { installKeycloak } from '../test/support/keycloak/install.ts'
import { startKeycloak } from '../test/support/keycloak/server.ts'
import { hammer, type Load } from './hammer.ts'
import { NO_ASSUMPTIONS } from './no-assumptions.ts'
import { percentile } from './percentile.ts'
import { startProcess } from './process.ts'
import { startBenchServer } from './server.ts'

const CONNECTIONS = 50
const ROUND_S = 5
const ROUNDS = 5
/** Java compiles while it runs: Keycloak gets faster for about this time. */
const KEYCLOAK_WARM_UP_S = 40
const WARM_UP_S = 3

const gateway = await startProcess('emulator/main.ts', ['--port', '0', '--max-keys', '1000000'], {})
// This emulator has no quotas, so the service need not limit its calls.
const service = await startBenchServer(gateway.url, { AWS_CALLS_PER_SECOND: '0' })
const oidcProvider = await startProcess('bench/peer.ts', [], { PATH: process.env['PATH'] })
const keycloak = await startKeycloak(await installKeycloak(), 'production')
const issuer = await keycloak.createRealm({ realm: 'bench' })
const initialAccessToken = await keycloak.createInitialAccessToken(issuer, 10_000_000)

const json = { 'content-type': 'application/json' }
const client = '{"client_name":"bench-agent","redirect_uris":["https://client.example.com/cb"]}'

interface Subject {
  readonly name: string
  readonly warmUpS: number
  readonly load: Pick<Load, 'url' | 'headers' | 'body'>
  readonly rates: number[]
}
const firstkey: Subject = {
  name: 'firstkey',
  warmUpS: WARM_UP_S,
  load: {
    url: `${service.url}/register`,
    headers: { ...json, authorization: `Bearer ${service.createToken()}` },
    body: '{"name":"bench-agent"}',
  },
  rates: [],
}
/** The peers, with the ratio that firstkey has to reach, if there is one. */
const peers: (Subject & { readonly bar?: number })[] = [
  {
    name: 'oidc-provider',
    warmUpS: WARM_UP_S,
    load: { url: `${oidcProvider.url}/reg`, headers: json, body: client },
    rates: [],
    bar: 1,
  },
  {
    name: 'Keycloak',
    warmUpS: KEYCLOAK_WARM_UP_S,
    load: {
      url: `${issuer}/clients-registrations/openid-connect`,
      headers: { ...json, authorization: `Bearer ${initialAccessToken}` },
      body: client,
    },
    rates: [],
  },
]

async function perSecond({ load }: Subject, seconds: number): Promise<number> {
  const counts = await hammer({ ...load, connections: CONNECTIONS, seconds })
  const failed = [...counts].filter(([status]) => status !== 201)
  if (failed.length > 0) throw new Error(`${load.url} returned ${JSON.stringify(failed)}`)
  return (counts.get(201) ?? 0) / seconds
}

for (const subject of [...peers, firstkey]) await perSecond(subject, subject.warmUpS)
for (let round = 0; round < ROUNDS; round++) {
  for (const subject of [firstkey, ...peers]) subject.rates.push(await perSecond(subject, ROUND_S))
}
const memoryMb = service.memoryMb('peak')
await service.stop()
await oidcProvider.stop()
await keycloak.stop()
await gateway.stop()

console.log(`Node.js ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
console.log(`${CONNECTIONS} connections, ${ROUNDS} rounds of ${ROUND_S} s in turn; registrations a second`)
console.log(`${NO_ASSUMPTIONS}\n`)
const median = ({ rates }: Subject) => percentile(rates, 0.5)
for (const subject of [firstkey, ...peers]) {
  const [rate, low, high] = [median(subject), Math.min(...subject.rates), Math.max(...subject.rates)]
  console.log(
    `${subject.name.padEnd(14)} ${rate.toFixed(0).padStart(6)}   (${low.toFixed(0)} to ${high.toFixed(0)})`,
  )
}
for (const peer of peers) {
  const ratio = median(firstkey) / median(peer)
  const missed = peer.bar !== undefined && ratio < peer.bar
  const verdict =
    peer.bar === undefined ? '' : missed ? `  MISSED: at least ${peer.bar}` : `  (bar: at least ${peer.bar})`
  console.log(`ratio to ${peer.name.padEnd(14)} ${ratio.toFixed(2)}${verdict}`)
  if (missed) process.exitCode = 1
}
console.log(`peak memory of firstkey ${memoryMb.toFixed(0)} MB`)
