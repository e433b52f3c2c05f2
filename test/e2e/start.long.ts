import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join, relative } from 'node:path'
import { test } from 'node:test'
import { runCli, startProgram, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

const faults: [title: string, env: Record<string, string>, message: RegExp][] = [
  [
    'a missing variable',
    { API_BASE_URL: '' },
    /^firstkey: the configuration is not valid:\n {2}API_BASE_URL is required/,
  ],
  [
    'wrong credentials',
    { AWS_ACCESS_KEY_ID: 'AKIAWRONG' },
    /cannot be used: .*UnrecognizedClientException[\s\S]*AWS credentials/,
  ],
  [
    'a wrong secret',
    { AWS_SECRET_ACCESS_KEY: 'wrong' },
    /cannot be used: .*InvalidSignatureException[\s\S]*AWS credentials/,
  ],
  [
    'a line break in the credentials',
    { AWS_SESSION_TOKEN: 'abc\ndef' },
    /^firstkey: the configuration is not valid:\n {2}AWS_SESSION_TOKEN contains/,
  ],
  [
    'a missing web identity token',
    {
      AWS_ACCESS_KEY_ID: '',
      AWS_WEB_IDENTITY_TOKEN_FILE: '/none/token',
      AWS_ROLE_ARN: 'arn:aws:iam::1:role/x',
    },
    /^firstkey: the configuration is not valid:\n {2}AWS_WEB_IDENTITY_TOKEN_FILE names \/none\/token/,
  ],
  [
    'no credentials',
    { AWS_ACCESS_KEY_ID: '', AWS_EC2_METADATA_DISABLED: 'true' },
    /cannot be used: .*CredentialsProviderError[\s\S]*AWS credentials/,
  ],
  [
    'another region',
    { AWS_REGION: 'us-east-1' },
    /API Gateway in us-east-1 cannot be used: .*valid region[\s\S]*AWS_REGION/,
  ],
  [
    'a plan that does not exist',
    { USAGE_PLANS: 'free=demofree,gold=nosuchplan' },
    /cannot be used: .*Invalid Usage Plan ID[\s\S]*gold=nosuchplan/,
  ],
  [
    'a host that does not exist',
    { AWS_ENDPOINT_URL_API_GATEWAY: 'http://nowhere.invalid' },
    /cannot be used: .*nowhere\.invalid/,
  ],
  [
    'a store below a file',
    { STORE: 'sqlite:/dev/null/x.db' },
    /^firstkey: the store \/dev\/null\/x\.db cannot be opened: /,
  ],
]

for (const [title, env, message] of faults) {
  test(`${title} stops the start with one clear message`, async (t) => {
    const gateway = await testGateway(t)
    const server = startProgram(t, 'src/start.js', [], { ...serverEnv(gateway, tempDir(t)), ...env })
    assert.equal(await server.ended(), 1)
    assert.match(server.output.stderr, message)
    assert.ok(!/\n {4}at /.test(server.output.stderr), 'a stack trace is printed')
  })
}

test('https:// to a port without TLS stops the start; the message says that the connection is not secure', async (t) => {
  const gateway = await testGateway(t)
  const AWS_ENDPOINT_URL_API_GATEWAY = gateway.url.replace('http:', 'https:')
  const env = { ...serverEnv(gateway, tempDir(t)), AWS_ENDPOINT_URL_API_GATEWAY }
  const server = startProgram(t, 'src/start.js', [], env)
  assert.equal(await server.ended(), 1)
  assert.match(server.output.stderr, /cannot set up a secure connection[\s\S]*AWS_ENDPOINT_URL/)
})

test('a store that is not a database stops the start; the message names its path', async (t) => {
  const dir = tempDir(t)
  const env = serverEnv(await testGateway(t), dir)
  writeFileSync(
    join(dir, 'firstkey.db'),
    'not a database, but long enough to look like one to SQLite. '.repeat(20),
  )
  const server = startProgram(t, 'src/start.js', [], env)
  assert.equal(await server.ended(), 1)
  assert.match(server.output.stderr, /firstkey\.db cannot be opened: file is not a database/)
})

test('a pool for which the account has no room stops the start, with the figures', async (t) => {
  const gateway = await testGateway(t)
  for (let i = 0; i < 9_950; i++) gateway.account.createKey({ name: `other ${i}` })
  const env = { ...serverEnv(gateway, tempDir(t)), POOL: 'gold:40,free:20' }
  const server = startProgram(t, 'src/start.js', [], env)
  assert.equal(await server.ended(), 1)
  assert.match(
    server.output.stderr,
    /^firstkey: POOL=gold:40,free:20 asks for 60 keys, of which 0 exist, .* room for 50 more: it has 9950 of the 10000 /,
  )
})

test('a port in use stops the start; the message names the port', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.after(() => other.close())
  const address = other.address()
  const PORT = String(typeof address === 'object' ? address?.port : '')
  const env = serverEnv(await testGateway(t), tempDir(t))
  const server = startProgram(t, 'src/start.js', [], { ...env, PORT })
  assert.equal(await server.ended(), 1)
  assert.match(
    server.output.stderr,
    RegExp(`^firstkey: cannot listen on 127.0.0.1, PORT ${PORT}: it is in use`),
  )
})

test('an address of another machine stops the start; the message names HOST', async (t) => {
  const env = { ...serverEnv(await testGateway(t), tempDir(t)), HOST: '192.0.2.1', PORT: '4100' }
  const server = startProgram(t, 'src/start.js', [], env)
  assert.equal(await server.ended(), 1)
  assert.match(
    server.output.stderr,
    /^firstkey: cannot listen on 192\.0\.2\.1, PORT 4100: this machine does not have that address; correct HOST$/m,
  )
})

test('an API Gateway that fails for a moment does not stop the start: not ready, then ready', async (t) => {
  const gateway = await testGateway(t)
  gateway.faults.order({ operation: 'GetUsagePlan', when: 'before', kind: 'fail', times: 6 })
  const { url } = await startServer(t, serverEnv(gateway, tempDir(t)))
  assert.equal((await fetch(`${url}/livez`)).status, 200)
  const first = await fetch(`${url}/readyz`)
  assert.equal(first.status, 503)
  assert.match(first.headers.get('content-type') ?? '', /problem\+json/)
  gateway.faults.clear()
  const deadline = Date.now() + 10_000
  let status = 0
  while (status !== 200 && Date.now() < deadline) status = (await fetch(`${url}/readyz`)).status
  assert.equal(status, 200)
})

test('a plan without an API stage does not stop the start, but is logged as an error', async (t) => {
  const gateway = await testGateway(t)
  gateway.account.plan('demogold').apiStages = []
  const { url, output } = await startServer(t, serverEnv(gateway, tempDir(t)))
  assert.equal((await fetch(`${url}/readyz`)).status, 502)
  assert.match(output.stdout, /"level":"error".*"gold\\" has no API stage/)
})

test('without PUBLIC_URL the URLs in responses have the port on which the service listens, also if that was chosen', async (t) => {
  const { url, output } = await startServer(t, serverEnv(await testGateway(t), tempDir(t)))
  const { port } = new URL(url)
  assert.notEqual(port, '0')
  const catalog = await (await fetch(`${url}/.well-known/oauth-protected-resource`)).text()
  assert.match(catalog, RegExp(`"resource":"http://localhost:${port}"`))
  assert.match(output.stdout, RegExp(`"level":"warn".*"PUBLIC_URL is not set: .* http://localhost:${port},`))
})

test('a misspelt variable is named at the start, which continues', async (t) => {
  const env = {
    ...serverEnv(await testGateway(t), tempDir(t)),
    RATE_LIMIT_PER_IPS: '10',
    PUBLIC_URL: 'http://keys.example',
  }
  const { url, output } = await startServer(t, env)
  assert.equal((await fetch(`${url}/livez`)).status, 200)
  assert.match(
    output.stdout,
    /"level":"warn".*RATE_LIMIT_PER_IPS is not a variable .*did you mean \\"RATE_LIMIT_PER_IP\\"/,
  )
  assert.match(output.stdout, /"level":"warn".*PUBLIC_URL is http:\/\/keys\.example: .* without encryption/)
})

test('--help lists the variables, --version the version; another argument is a mistake. None needs a configuration', async (t) => {
  for (const [args, code, stdout, stderr] of [
    [
      ['--help'],
      0,
      /^usage: npm start[\s\S]*\n {2}RATE_LIMIT_PER_IP \(default: 300\)\n {6}Requests a minute/,
      /^$/,
    ],
    [['--version'], 0, /^\d+\.\d+\.\d+\n$/, /^$/],
    [['--prot', '80'], 1, /^$/, /^firstkey: Unknown option '--prot'.*\n {2}--help shows/],
    [[`fkb_${'a'.repeat(40)}`], 1, /^$/, /^firstkey: Unexpected argument '\[redacted\]'/],
  ] as const) {
    const server = startProgram(t, 'src/start.js', args, {})
    assert.equal(await server.ended(), code)
    assert.match(server.output.stdout, stdout)
    assert.match(server.output.stderr, stderr)
  }
})

test('the start and the commands name the absolute path of a store, and say when they create it', async (t) => {
  const gateway = await testGateway(t)
  const path = join(tempDir(t), 'firstkey.db')
  // As a program that starts in the folder of the project reads it.
  const env = {
    ...serverEnv(gateway, tempDir(t)),
    STORE: `sqlite:${relative(join(import.meta.dirname, '../..'), path)}\r`,
  }
  const missing = await runCli(t, ['registrations', 'list'], env)
  assert.equal(missing.code, 1)
  assert.match(missing.stderr, RegExp(`there is no store ${path}: correct STORE`))
  assert.ok(!existsSync(path))

  const create = () => runCli(t, ['tokens', 'create', '--label', 'x'], env)
  assert.match((await create()).stderr, RegExp(`^created a new store at ${path}$`, 'm'))
  assert.doesNotMatch((await create()).stderr, /new store/)
  const known = await startServer(t, env)
  assert.match(known.output.stdout, RegExp(`"store":"sqlite:${path}","store_id":"[0-9a-f]{10}"`))
  assert.doesNotMatch(known.output.stdout, /new store/)

  const STORE = `${env.STORE.trim()}.new`
  const unknown = await startServer(t, { ...env, STORE })
  assert.match(unknown.output.stdout, RegExp(`"level":"info".*created a new store at ${path}\\.new"`))
})
