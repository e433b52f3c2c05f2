import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { z } from 'zod'
import { newRegistration } from '../store/store-contract.ts'
import { passOn } from '../support/pass-on.ts'
import { fetchScript } from '../support/register-script.ts'
import { dataPlane, type Service, startService } from '../support/service.ts'

const credential = z.looseObject({ api_key_id: z.string(), api_key_value: z.string() })

test('register.mjs prints the key, a blank line and the JSON; the key works', async (t) => {
  const service = await startService(t)
  const { run, kept } = await fetchScript(t, service)
  const { secret } = await service.token({ plans: ['gold', 'free'] })
  const env = { FIRSTKEY_TOKEN: secret }
  const done = await run(['--name', 'acme-agent', '--description', "it's mine", '--plan', 'free'], env)
  assert.equal(done.code, 0, done.stderr)
  const [, id, value, json = ''] =
    done.stdout.match(/^api_key_id=(\w+)\napi_key_value=(\w+)\n\n(\{[\s\S]*\})\n$/) ?? []
  const parsed = credential.parse(JSON.parse(json))
  assert.deepEqual([parsed.api_key_id, parsed.api_key_value], [id, value])
  assert.deepEqual([parsed['description'], parsed['plan']], ["it's mine", 'free'])
  assert.equal(await dataPlane(service, parsed.api_key_value), 200)
  assert.deepEqual(kept(), [])

  const alone = await run(['--name', 'acme-agent', '--json'], env)
  assert.ok(credential.parse(JSON.parse(alone.stdout)))
  assert.equal(service.gateway.account.keys.size, 2, 'after a success, the next run is a new registration')
})

test('register.mjs contains the URL of the service that served it', async (t) => {
  const service = await startService(t, { env: { PUBLIC_URL: 'https://keys.example.com/it' } })
  const { run } = await fetchScript(t, service)
  assert.match((await run(['--help'])).stdout, /default: https:\/\/keys\.example\.com\/it/)
})

test('register.mjs --out writes variables that only the owner can read, and overwrites no file without --force', async (t) => {
  const service = await startService(t)
  const { dir, run, kept } = await fetchScript(t, service)
  const { secret } = await service.token()
  const env = { FIRSTKEY_TOKEN: secret }
  const out = join(dir, '.env')
  const done = await run(['--name', 'acme agent', '--out', out], env)
  assert.equal(done.code, 0, done.stderr)
  assert.equal(statSync(out).mode & 0o777, 0o600)
  const lines = readFileSync(out, 'utf8')
  const value = lines.match(/^FIRSTKEY_API_KEY=(\w+)$/m)?.[1] ?? ''
  assert.equal(await dataPlane(service, value), 200)
  assert.match(lines, /^FIRSTKEY_NAME='acme agent'$/m)
  assert.match(lines, /^FIRSTKEY_MANAGEMENT_TOKEN=fkm_\w+$/m)
  assert.ok(!`${done.stdout}${done.stderr}`.includes(value), 'no secret on the screen')

  const again = await run(['--name', 'acme agent', '--out', out], env)
  assert.equal(again.code, 2)
  assert.match(again.stderr, /already exists: use --append to add to it, --force to overwrite it/)
  assert.equal(readFileSync(out, 'utf8'), lines)
  assert.equal(service.gateway.account.keys.size, 1, 'no request was sent')
  assert.equal((await run(['--name', 'acme agent', '--out', out, '--force'], env)).code, 0)
  assert.notEqual(readFileSync(out, 'utf8'), lines)
  assert.equal(statSync(out).mode & 0o777, 0o600)

  assert.equal((await run(['--name', 'a', '--out', join(dir, 'none', 'x')], env)).code, 2)
  const refused = await run(['--name', 'a', '--out', join(dir, 'new.env')], { FIRSTKEY_TOKEN: 'fkb_wrong' })
  assert.equal(refused.code, 1)
  assert.ok(!existsSync(join(dir, 'new.env')), 'no empty file is left')
  assert.deepEqual(kept(), [])
})

test('register.mjs reports the fault and the next step: exit code 1 for a rejection, 2 for wrong usage', async (t) => {
  const service = await startService(t)
  const { run, kept } = await fetchScript(t, service)
  const { secret } = await service.token({ namePrefix: 'acme-' })
  const refused = await run(['--name', 'other'], { FIRSTKEY_TOKEN: secret })
  assert.equal(refused.code, 1)
  assert.equal(refused.stdout, '')
  assert.match(refused.stderr, /name_not_allowed.*must start with "acme-"/)
  assert.match(refused.stderr, /Request id: req_/)
  assert.deepEqual(kept(), [])
  for (const [args, env, message] of [
    [[], { FIRSTKEY_TOKEN: secret }, /--name is missing/],
    [['--name', 'a', '--token', 'x'], { FIRSTKEY_TOKEN: secret }, /Unknown option '--token'/],
    [['--name', 'a', '--url', 'ftp://x'], { FIRSTKEY_TOKEN: secret }, /must be the http\(s\) URL/],
    [['--name', 'a', '--url', 'http://me:pw@x'], { FIRSTKEY_TOKEN: secret }, /without a user name/],
    [['--name', 'a', '--force'], { FIRSTKEY_TOKEN: secret }, /--force requires --out/],
    [['--name', 'a', '--append'], { FIRSTKEY_TOKEN: secret }, /--append requires --out/],
    [['--name', 'a', '--out', 'x', '--append', '--force'], { FIRSTKEY_TOKEN: secret }, /exclude each other/],
    [['--name', 'a', '--out', 'x', '--append', '--json'], { FIRSTKEY_TOKEN: secret }, /choose one/],
    [['--name', 'a', secret], { FIRSTKEY_TOKEN: secret }, /Unexpected argument 'fkb_…'/],
  ] as const) {
    const wrong = await run(args, env)
    assert.equal(wrong.code, 2, args.join(' '))
    assert.match(wrong.stderr, message)
    assert.match(wrong.stderr, /^register\.mjs: .*\nTry: node register\.mjs --help\n$/, 'one line and a hint')
  }
})

test('register.mjs retries, and after a lost response gets the same key, not a second one', async (t) => {
  const service = await startService(t)
  const { run, kept } = await fetchScript(t, service)
  const { secret } = await service.token({ maxUses: 1 })
  // A proxy in front of the service: the first response is lost, the second is a 503, the third is lost.
  let calls = 0
  const front = createServer(async (incoming, outgoing) => {
    calls += 1
    const body = await text(incoming)
    const headers = Object.entries(incoming.headers).flatMap(([name, value]) =>
      ['authorization', 'content-type', 'accept', 'idempotency-key'].includes(name)
        ? [[name, String(value)] as [string, string]]
        : [],
    )
    if (calls === 2) {
      outgoing.writeHead(503, { 'retry-after': '1' }).end('<html>in between</html>')
      return
    }
    const answer = await fetch(`${service.url}/register`, { method: 'POST', headers, body })
    const answered = await answer.text()
    if (calls === 1 || calls === 3) return void incoming.socket.destroy()
    outgoing.writeHead(answer.status, { 'content-type': 'application/json' }).end(answered)
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.after(() => front.close())
  const env = {
    FIRSTKEY_TOKEN: secret,
    FIRSTKEY_URL: `http://127.0.0.1:${(front.address() as AddressInfo).port}`,
  }

  const impatient = await run(['--name', 'acme-agent', '--max-wait', '0'], env)
  assert.equal(impatient.code, 1)
  assert.match(impatient.stderr, /cannot be reached[\s\S]*Run the same command again later/)
  assert.equal(kept().length, 1, 'the Idempotency-Key is kept')
  const done = await run(['--name', 'acme-agent'], env)
  assert.equal(done.code, 0, done.stderr)
  assert.equal(calls, 4)
  assert.equal(service.gateway.account.keys.size, 1)
  assert.deepEqual(kept(), [])
})

/** Starts a proxy that loses the response of the service to each request, and sends `answers` instead; later ones pass. */
async function startFront(t: TestContext, service: Service, answers: readonly Response[]): Promise<string> {
  let calls = 0
  const front = createServer(async (incoming, outgoing) => {
    const headers = Object.fromEntries(
      Object.entries(incoming.headers)
        .filter(([name]) => ['authorization', 'content-type', 'accept', 'idempotency-key'].includes(name))
        .map(([name, value]) => [name, String(value)]),
    )
    const own = await fetch(`${service.url}/register`, {
      method: 'POST',
      headers,
      body: await text(incoming),
    })
    const { status, headers: sent, body } = answers[calls] ?? own
    calls += 1
    outgoing.writeHead(status, { 'content-type': sent.get('content-type') ?? 'text/html' })
    outgoing.end(body === null ? '' : Buffer.from(await new Response(body).arrayBuffer()))
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.after(() => front.close())
  return `http://127.0.0.1:${(front.address() as AddressInfo).port}`
}

const json = { 'content-type': 'application/json' }
for (const [title, foreign] of [
  ['a 403 of a firewall', () => new Response('<html>Request blocked</html>', { status: 403 })],
  ['a 403 of API Gateway', () => new Response('{"message":"Forbidden"}', { status: 403, headers: json })],
  ['a 404 of a proxy', () => new Response('{"code":404}', { status: 404, headers: json })],
  ['the page of a captive portal', () => new Response('<html>Please log in</html>')],
] as const) {
  test(`register.mjs keeps its Idempotency-Key after ${title}: the next run gets the same key`, async (t) => {
    const service = await startService(t)
    const { run, kept } = await fetchScript(t, service)
    const { secret } = await service.token({ maxUses: 1 })
    const env = { FIRSTKEY_TOKEN: secret, FIRSTKEY_URL: await startFront(t, service, [foreign()]) }
    const stopped = await run(['--name', 'acme-agent'], env)
    assert.equal(stopped.code, 1)
    assert.match(stopped.stderr, /not from firstkey[\s\S]*run the same command again/)
    assert.equal(kept().length, 1)
    const done = await run(['--name', 'acme-agent'], env)
    assert.equal(done.code, 0, done.stderr)
    assert.equal(service.gateway.account.keys.size, 1)
    assert.deepEqual(kept(), [])
  })
}

test('register.mjs asks again after a damaged 201, and gets the same key', async (t) => {
  const service = await startService(t)
  const { run, kept } = await fetchScript(t, service)
  const { secret } = await service.token({ maxUses: 1 })
  const damaged = [
    new Response('{"api_key_id":"abc","api_key_val', { status: 201, headers: json }),
    new Response('{"api_key_id":"abc","api_key_value":"def"}', { status: 201, headers: json }),
    new Response('', { status: 201 }),
  ]
  const env = { FIRSTKEY_TOKEN: secret, FIRSTKEY_URL: await startFront(t, service, damaged) }
  const done = await run(['--name', 'acme-agent'], env)
  assert.equal(done.code, 0, done.stderr)
  const [, value = ''] = done.stdout.match(/^api_key_value=(\w+)$/m) ?? []
  assert.equal(await dataPlane(service, value), 200)
  assert.equal(service.gateway.account.keys.size, 1)
  assert.deepEqual(kept(), [])
})

test('register.mjs, stopped while it waits, removes its empty file and keeps its Idempotency-Key: the next run gets the same key', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateUsagePlanKey: 1_500 } } })
  const { dir, run, kept } = await fetchScript(t, service)
  const { secret } = await service.token({ maxUses: 1 })
  const env = { PATH: process.env['PATH'], FIRSTKEY_URL: service.url, FIRSTKEY_TOKEN: secret }
  const args = ['../register.mjs', '--name', 'acme-agent', '--out', '.env']
  const arrived = new Promise<void>((resolve) => {
    service.gateway.onCall = (operation) => operation === 'CreateUsagePlanKey' && resolve()
  })
  const child = spawn(process.execPath, args, { cwd: dir, env, stdio: 'ignore' })
  await arrived
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [143, null])
  assert.ok(!existsSync(join(dir, '.env')))
  assert.equal(kept().length, 1)

  const again = await run(args.slice(1), { FIRSTKEY_TOKEN: secret })
  assert.equal(again.code, 0, again.stderr)
  assert.equal(service.gateway.account.keys.size, 1)
  assert.match(readFileSync(join(dir, '.env'), 'utf8'), /^FIRSTKEY_API_KEY=/m)
})

test('register.mjs uses a token in spite of what a file left around it, says what that is, and never prints a token', async (t) => {
  const service = await startService(t)
  const { run } = await fetchScript(t, service)
  const { secret } = await service.token()
  for (const [around, told] of [
    [`${secret}\r`, /FIRSTKEY_TOKEN has a carriage return before or after the token/],
    [`${secret}\r\n`, /a carriage return/],
    [`"${secret}"`, /a quotation mark/],
    [`'${secret}'`, /an apostrophe/],
    [`\uFEFF${secret}`, /a byte-order mark/],
    [` ${secret}\n`, /^identity: .*\n$/],
    [`Bearer ${secret}`, /^identity: .*\n$/],
  ] as const) {
    const done = await run(['--name', 'acme-agent'], { FIRSTKEY_TOKEN: around })
    assert.equal(done.code, 0, JSON.stringify(around.replace(secret, '…')))
    assert.match(done.stderr, told)
  }
  for (const [inside, told] of [
    ['fkb_abc\ndef', /contains invalid characters: a line break inside the token/],
    ['fkb_abc\rdef', /a carriage return inside/],
    ['fkb_abc def', /a space inside/],
    ['fkb_abc\u200Bdef', /U\+200B inside/],
    ['fkm_abc', /is a management token/],
    ['" "', /is not set/],
  ] as const) {
    const done = await run(['--name', 'acme-agent'], { FIRSTKEY_TOKEN: inside })
    assert.equal(done.code, 2)
    assert.match(done.stderr, told)
    assert.ok(!/fk[bm]_abc/.test(done.stderr))
  }
})

test('register.mjs takes the URL of the service from the URL of its /register', async (t) => {
  const asked: (string | undefined)[] = []
  const front = createServer((incoming, outgoing) => {
    asked.push(incoming.url)
    outgoing.writeHead(400, json).end('{"code":"invalid_request","retryable":false}')
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.after(() => front.close())
  const base = `http://127.0.0.1:${(front.address() as AddressInfo).port}`
  const service = await startService(t, { env: { PUBLIC_URL: `${base}/my` } })
  const { run } = await fetchScript(t, service)
  for (const [given, path] of [
    [base, '/register'],
    [`${base}/`, '/register'],
    [`${base}/register`, '/register'],
    [`${base}/register/`, '/register'],
    [`${base}/prod/register?x=1`, '/prod/register'],
    [`${base}/prod//register//#top`, '/prod/register'],
    [`${base}/connect/register`, '/register'],
    [`${base}/register.mjs`, '/register'],
    [` ${base}/prod\r`, '/prod/register'],
    // The URL of the service itself.
    ['', '/my/register'],
    [`${base}/my/register/`, '/my/register'],
  ] as const) {
    const done = await run(['--name', 'a'], { FIRSTKEY_TOKEN: 'fkb_x', FIRSTKEY_URL: given })
    assert.equal(done.code, 1, done.stderr)
    assert.equal(asked.pop(), path, given)
  }
})

test('register.mjs works through a proxy as --help says, and says so where a proxy is set in vain', async (t) => {
  const service = await startService(t)
  const { run } = await fetchScript(t, service)
  const { secret } = await service.token()
  const tunnels: (string | undefined)[] = []
  const proxy = createServer().on('connect', (request, client) => {
    tunnels.push(request.url)
    const upstream = connect(Number(new URL(service.url).port), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      client.pipe(upstream).pipe(client)
    })
    for (const socket of [client, upstream]) socket.on('error', () => socket.destroy())
  })
  // A request for an http URL may also come without a tunnel.
  proxy.on('request', (incoming, outgoing) => {
    tunnels.push(incoming.headers.host)
    passOn(incoming, outgoing, new URL(`${service.url}/register`))
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.after(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  // Only the proxy knows this host.
  const env = {
    FIRSTKEY_TOKEN: secret,
    FIRSTKEY_URL: 'http://keys.invalid',
    HTTP_PROXY: url,
    HTTPS_PROXY: url,
  }
  const through = await run(['--name', 'acme-agent'], { ...env, NODE_USE_ENV_PROXY: '1' })
  assert.equal(through.code, 0, through.stderr)
  assert.match(String(tunnels[0]), /^keys\.invalid(:80)?$/)
  const vain = await run(['--name', 'acme-agent', '--max-wait', '0'], env)
  assert.equal(vain.code, 1)
  assert.match(vain.stderr, /A proxy is set, but Node\.js does not use it: see "Proxy" in --help/)
  assert.match((await run(['-h'])).stdout, /NODE_USE_ENV_PROXY=1/)
})

test('register.mjs keeps its Idempotency-Key while the uses of its token are pending, and a later run continues', async (t) => {
  const service = await startService(t)
  const { store } = service.deps
  const { run, kept } = await fetchScript(t, service)
  const { secret, token } = await service.token({ maxUses: 1 })
  const env = { FIRSTKEY_TOKEN: secret }
  const holder = newRegistration(token.id, Date.now())
  await store.beginRegistrations([holder], { owner: 'other', until: Date.now() + 5_000 })
  const stopped = await run(['--name', 'acme-agent', '--max-wait', '1'], env)
  assert.equal(stopped.code, 1)
  assert.match(stopped.stderr, /token_uses_pending[\s\S]*Run the same command again later/)
  const [file] = kept()
  assert.ok(file, 'the Idempotency-Key is kept')

  const failing = { failure: 'internal', sweepAt: null, now: Date.now() } as const
  await store.failRegistrations([{ id: holder.id, owner: 'other' }], failing)
  const done = await run(['--name', 'acme-agent'], env)
  assert.equal(done.code, 0, done.stderr)
  assert.deepEqual(kept(), [])
})
