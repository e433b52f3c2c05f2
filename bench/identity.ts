// Measures what an identity token costs in place of a bootstrap token: pairs of registrations, one of each kind, against an
// emulator without latency; own time is latency without the time that calls spent in the emulator. Then two times 10,000 tokens of
// issuers that are not trusted, each of another one: they must cause no request to any issuer.
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { startGateway } from '../emulator/gateway.ts'
import { startIssuer } from '../test/support/identity/issuer.ts'
import { percentile } from './percentile.ts'
import { startBenchServer } from './server.ts'
import { createStopwatch, type Sample } from './stopwatch.ts'

const PAIRS = 300
const WARM_UP = 200
const BOGUS = 10_000
const AT_ONCE = 20
const ALLOWED_MS = 2
const AUDIENCE = 'https://keys.example.com'

const closers: (() => void)[] = []
const dir = await mkdtemp(join(tmpdir(), 'firstkey-bench-identity-'))
const gateway = await startGateway()
const issuer = await startIssuer(
  { after: (close) => closers.push(close) },
  { alg: 'RS256', audience: AUDIENCE },
)
const trustFile = join(dir, 'trust.yaml')
const rule = { id: 'ci', issuer: 'ci', match: { sub: 'caller' } }
const grant = { name: 'bench-*', key_ttl: '24h', on_repeat: 'add' }
writeFileSync(
  trustFile,
  JSON.stringify({
    audience: AUDIENCE,
    issuers: { ci: { kind: 'oidc', issuer: issuer.url, algorithms: ['RS256'], single_use: true } },
    rules: [{ ...rule, grant }],
  }),
)
const server = await startBenchServer(gateway.url, { AWS_CALLS_PER_SECOND: '0', TRUST_FILE: trustFile })
const secret = server.createToken()
const send = createStopwatch(gateway, server.url)

function registration(token: string): RequestInit {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  return {
    method: 'POST',
    headers: { ...headers, 'idempotency-key': randomUUID() },
    body: '{"name":"bench-agent"}',
  }
}

const samples: { bootstrap: Sample; identity: Sample }[] = []
for (let i = 0; i < WARM_UP + PAIRS; i++) {
  const kinds = { bootstrap: () => secret, identity: () => issuer.sign() }
  const pair: Partial<Record<keyof typeof kinds, Sample>> = {}
  // Each kind is the first of every other pair.
  for (const kind of i % 2 === 0
    ? (['bootstrap', 'identity'] as const)
    : (['identity', 'bootstrap'] as const)) {
    const init = registration(kinds[kind]())
    pair[kind] = await send('/register', init)
  }
  const { bootstrap, identity } = pair
  if (bootstrap && identity && i >= WARM_UP) samples.push({ bootstrap, identity })
}

const requestsBefore = issuer.requests.discovery + issuer.requests.jwks
async function sendBogus(count: number): Promise<void> {
  for (let sent = 0; sent < count; sent += AT_ONCE)
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        const token = issuer.sign({ iss: `${issuer.origin}/${randomUUID()}` })
        const answer = await fetch(`${server.url}/register`, registration(token))
        await answer.arrayBuffer()
        if (answer.status !== 401) throw new Error(`a bogus token was answered with ${answer.status}`)
      }),
    )
}
// The first ones fill what is bounded. Without a collection of garbage, the figures vary by tens of megabytes.
await sendBogus(BOGUS)
const memoryMb = [server.memoryMb('now')]
await sendBogus(BOGUS)
memoryMb.push(server.memoryMb('now'))
const bogusRequests = issuer.requests.discovery + issuer.requests.jwks - requestsBefore

await server.stop()
await gateway.close()
for (const close of closers) close()
await rm(dir, { recursive: true })

const own = ({ total, gateway: inGateway }: Sample) => total - inGateway
const bootstrap = samples.map((pair) => own(pair.bootstrap))
const identity = samples.map((pair) => own(pair.identity))
const difference = percentile(
  samples.map((pair) => own(pair.identity) - own(pair.bootstrap)),
  0.5,
)
const row = (name: string, value: string) => console.log(`${name.padEnd(62)} ${value.padStart(9)}`)
console.log(`Node.js ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
console.log(`${PAIRS} pairs of registrations, durable SQLite store, RS256, keys cached\n`)
row('registration with a bootstrap token, own time, p50', `${percentile(bootstrap, 0.5).toFixed(2)} ms`)
row('registration with an identity token, own time, p50', `${percentile(identity, 0.5).toFixed(2)} ms`)
row('difference of a pair, median', `${difference.toFixed(2)} ms`)
row(`requests to issuers for ${2 * BOGUS} bogus tokens`, String(bogusRequests))
row(
  `resident memory after ${BOGUS} of them, and after all`,
  `${memoryMb.map((mb) => mb.toFixed(0)).join(', ')} MB`,
)
if (difference > ALLOWED_MS || bogusRequests > 0) process.exitCode = 1
