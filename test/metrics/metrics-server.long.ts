import assert from 'node:assert/strict'
import { once } from 'node:events'
import { renameSync } from 'node:fs'
import { createServer, request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { serveMetrics } from '../../src/metrics/metrics-server.ts'
import { needsPromtool, runPromtool } from '../support/promtool.ts'
import { readSamples, sum } from '../support/samples.ts'
import { runCli, startProgram, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

/** The longest time for which a test waits for a value (ms). */
const LONGEST_MS = 60_000

/** Starts the service as a process with metrics, on a store of its own. */
async function start(t: TestContext, env: Record<string, string> = {}) {
  const gateway = await testGateway(t, { latency: { CreateApiKey: 2_000 } })
  const dataDir = tempDir(t)
  const all = { ...serverEnv(gateway, dataDir), METRICS_PORT: '0', ...env }
  const server = await startServer(t, all)
  const [, metricsUrl = ''] = await server.seen(/"msg":"serving metrics at (http:[^"]+)"/)
  const scrape = async () => readSamples(await (await fetch(metricsUrl)).text())
  /** Scrapes until a metric has this value. */
  const until = async (name: string, value: number | undefined, labels = {}) => {
    for (const giveUpAt = performance.now() + LONGEST_MS; ; await sleep(50)) {
      const found = sum(await scrape(), name, labels)
      if (found === value) return
      assert.ok(performance.now() < giveUpAt, `${name} is ${found} and does not become ${value}`)
    }
  }
  return { gateway, dataDir, env: all, server, metricsUrl, scrape, until }
}

test('the metrics of a process, from its start to its stop', async (t) => {
  const { gateway, dataDir, env, server, metricsUrl, scrape, until } = await start(t)
  assert.match(metricsUrl, /^http:\/\/127\.0\.0\.1:\d+\/metrics$/)

  await t.test('pass promtool check metrics', needsPromtool, async () => {
    const text = await (await fetch(metricsUrl)).text()
    assert.deepEqual(await runPromtool(['check', 'metrics'], text), { code: 0, output: '' })
  })

  await t.test('are all that the port serves, for GET and HEAD', async () => {
    const got = await fetch(`${metricsUrl}?x=1`)
    assert.equal(got.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    assert.equal(got.headers.get('access-control-allow-origin'), null)
    assert.match(await got.text(), /^firstkey_build_info\{version="0\.1\.0",store="sqlite"\} 1$/m)
    const head = await fetch(metricsUrl, { method: 'HEAD' })
    assert.equal(head.status, 200)
    assert.equal(await head.text(), '')
    const post = await fetch(metricsUrl, { method: 'POST', body: 'x'.repeat(1_000_000) }).catch(() => null)
    if (post !== null) assert.equal(post.status, 405)
    for (const path of ['/', '/livez', '/register', '/metrics/', '/metricsx', '//metrics', '/METRICS'])
      assert.equal((await fetch(new URL(metricsUrl).origin + path)).status, 404, path)
    assert.equal((await fetch(`${server.url}/metrics`)).status, 404, 'not on the port for callers')
  })

  await t.test('show the state of the store and the account, which one process counts', async () => {
    await until('firstkey_duty_held', 1)
    await until('firstkey_ready', 1)
    await until('firstkey_account_keys', 0)
    for (const name of [
      'registrations_pending',
      'registrations_in_doubt',
      'keys_ending',
      'deletions_failing',
    ])
      await until(`firstkey_${name}`, 0)
    await until('firstkey_keys_expiring', 0, { days: '7' })
    const beside = await startServer(t, env)
    const [, url = ''] = await beside.seen(/"msg":"serving metrics at (http:[^"]+)"/)
    const other = readSamples(await (await fetch(url)).text())
    assert.equal(sum(other, 'firstkey_duty_held'), 0)
    assert.equal(sum(other, 'firstkey_registrations_pending'), undefined)
    assert.equal(sum(other, 'firstkey_account_keys'), undefined)
    beside.child.kill('SIGTERM')
    assert.equal(await beside.ended(), 0)
  })

  await t.test('cost no call to AWS', async () => {
    const before = JSON.stringify(gateway.answers)
    for (let i = 0; i < 20; i++) await scrape()
    assert.equal(JSON.stringify(gateway.answers), before)
  })

  await t.test('show what waits in the queue', async () => {
    const { stdout } = await runCli(t, ['tokens', 'create', '--label', 'x'], env)
    const register = () =>
      fetch(`${server.url}/register`, {
        method: 'POST',
        headers: { authorization: `Bearer ${stdout.trim()}`, 'content-type': 'application/json' },
        body: '{"name":"acme-agent"}',
      })
    const first = register()
    await until('firstkey_requests_in_flight', 1)
    const second = register()
    await until('firstkey_queue_length', 1)
    assert.ok((sum(await scrape(), 'firstkey_queue_oldest_age_seconds') ?? 0) > 0)
    assert.equal((await first).status, 201)
    assert.equal((await second).status, 201)
    await until('firstkey_queue_length', 0)
    await until('firstkey_registrations_total', 2, { plan: 'free', outcome: 'succeeded' })
  })

  await t.test('are answered while the store is broken, and say so', async () => {
    const path = join(dataDir, 'firstkey.db')
    renameSync(path, `${path}.away`)
    const look = setInterval(() => void fetch(`${server.url}/readyz`).catch(() => undefined), 200)
    t.after(() => clearInterval(look))
    // The success of the start is reused for 10 seconds.
    await until('firstkey_ready', 0)
    assert.ok((sum(await scrape(), 'firstkey_store_commits_total', { outcome: 'failed' }) ?? 0) > 0)
    renameSync(`${path}.away`, path)
    await until('firstkey_ready', 1)
    clearInterval(look)
  })

  await t.test('a client that sends nothing, or keeps its connection, does not delay the stop', async () => {
    const { hostname, port } = new URL(metricsUrl)
    const idle = request({
      hostname,
      port,
      path: '/metrics',
      agent: false,
      headers: { connection: 'keep-alive' },
    })
    idle.on('error', () => undefined)
    idle.end()
    const [response] = await once(idle, 'response')
    response.resume()
    server.child.kill('SIGTERM')
    assert.equal(await server.ended(), 0)
    await assert.rejects(fetch(metricsUrl))
  })
})

test('clients that do not read their answers keep no scrape away for long', async (t) => {
  const meter = { contentType: 'text/plain', render: async () => 'x'.repeat(8_000_000) }
  const server = await serveMetrics(meter, { host: '127.0.0.1', port: 0 }, 1_000)
  t.after(() => server.close())
  const { port } = new URL(server.url)
  // As many as the server takes, and each pipelines its requests.
  const holders = Array.from({ length: 20 }, () => {
    const client = connect(Number(port), '127.0.0.1').pause()
    client.on('error', () => undefined)
    client.write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(100))
    return client
  })
  t.after(() => holders.forEach((one) => void one.destroy()))
  await Promise.all(holders.map((one) => once(one, 'connect')))
  const scrape = () => fetch(server.url, { method: 'HEAD' }).catch(() => undefined)
  for (const giveUpAt = performance.now() + LONGEST_MS; (await scrape())?.status !== 200; await sleep(100))
    assert.ok(performance.now() < giveUpAt, 'the clients still hold all connections')
})

test('a metrics port in use, or an address that the machine does not have, stops the start before anything else', async (t) => {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  t.after(() => holder.close())
  const { port } = holder.address() as { port: number }
  const gateway = await testGateway(t)
  const dataDir = tempDir(t)
  const refusal = async (metrics: Record<string, string>) => {
    const program = startProgram(t, 'src/start.js', [], { ...serverEnv(gateway, dataDir), ...metrics })
    assert.equal(await program.ended(), 1)
    return program.output.stderr
  }
  assert.equal(
    await refusal({ METRICS_PORT: String(port) }),
    `firstkey: cannot serve metrics on 127.0.0.1, METRICS_PORT ${port}: it is in use; set METRICS_PORT to a free port\n`,
  )
  assert.match(
    await refusal({ METRICS_PORT: '0', METRICS_HOST: '192.0.2.1' }),
    /cannot serve metrics on 192\.0\.2\.1, METRICS_PORT 0: this machine does not have that address; correct METRICS_HOST/,
  )
  assert.deepEqual(gateway.answers, {})
})
