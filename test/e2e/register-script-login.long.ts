import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import type { Visit } from '../support/http-browser.ts'
import { logIn, startLoginService, trustOf } from '../support/identity/login.ts'
import { fetchScript, type Run } from '../support/register-script.ts'
import { dataPlane, type Service, tempDir } from '../support/service.ts'

/** Starts a service with a login, and the script on a computer whose browser writes down the address that it opens. */
async function startAll(t: TestContext) {
  const service = await startLoginService(t, {
    path: '/prod',
    trust: (issuer) => trustOf(issuer, {}, { on_repeat: 'add', max_live: 100 }),
  })
  const script = await fetchScript(t, service)
  const bin = tempDir(t)
  const opened = join(bin, 'opened')
  const browser = join(bin, 'xdg-open')
  writeFileSync(browser, `#!/bin/sh\nprintf %s "$#:$1" > '${opened}'\n`, { mode: 0o755 })
  const env = { PATH: `${bin}:${process.env['PATH']}`, DISPLAY: ':0' }
  /** Starts the script, and returns the address that it prints. */
  const start: (...given: Parameters<typeof script.start>) => Promise<{ running: Run; address: string }> =
    async (args, more, options) => {
      const running = script.start(['--login', '--name', 'acme-agent', ...args], { ...env, ...more }, options)
      const [address] = await running.seen(/http:\S+\/connect\/authorize\S+(?=\s)/)
      return { running, address }
    }
  return { service, script, browser, opened, start }
}

/** Logs Alice in with a browser, and returns the last page. */
async function finishLogin(address: string, decision = 'allow'): Promise<Visit> {
  const { browser, page } = await logIn(address)
  return browser.submit(page, { decision })
}

const codeOf = ({ url }: Visit) => new URL(url).searchParams.get('code') ?? assert.fail(url)

async function assertRegistered(service: Service, running: Run): Promise<void> {
  const { code, stdout, stderr } = await running.ended()
  assert.equal(code, 0, stderr)
  const [, id, value = '', json = ''] =
    stdout.match(/^api_key_id=(\w+)\napi_key_value=(\w+)\n\n(\{[\s\S]*\})\n$/) ?? []
  const { api_key_id, api_key_value } = JSON.parse(json)
  assert.deepEqual([api_key_id, api_key_value], [id, value])
  assert.equal(await dataPlane(service, value), 200)
  assert.match(stderr, new RegExp(`^identity: login at ${service.url}$`, 'm'))
}

/** Sends a GET to the callback, with any path, query and headers. */
async function call(address: string, path: string, headers: Record<string, string> = {}, method = 'GET') {
  const { port } = new URL(new URL(address).searchParams.get('redirect_uri') ?? '')
  const sent = request({ host: '127.0.0.1', port, path, method, headers })
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    sent.on('response', resolve).on('error', reject).end()
  })
  return { status: response.statusCode, body: await text(response) }
}

/** Reports whether this computer has util-linux's `script`. */
function hasTerminals(): boolean {
  try {
    return /util-linux/.test(execFileSync('script', ['--version'], { encoding: 'utf8' }))
  } catch {
    return false
  }
}

test('register.mjs --login', async (t) => {
  const { service, script, browser, opened, start } = await startAll(t)
  await t.test('opens the browser, and prints the key of the person who logs in there', async () => {
    const { running, address } = await start([])
    const end = await finishLogin(address)
    assert.equal(end.status, 200)
    assert.match(end.body, /<h1>You are logged in<\/h1>/)
    assert.match(end.headers.get('content-security-policy') ?? '', /^default-src 'none'/)
    assert.equal(end.headers.get('cache-control'), 'no-store')
    await assertRegistered(service, running)
    assert.equal(readFileSync(opened, 'utf8'), `1:${address}`, 'the address is one argument')
    assert.deepEqual(script.kept(), [])
    const sent = new URL(address).searchParams
    assert.match(sent.get('redirect_uri') ?? '', /^http:\/\/127\.0\.0\.1:\d+\/callback$/)
    assert.equal(sent.get('code_challenge_method'), 'S256')
  })

  await t.test('--out writes the key to the file, and prints none', async () => {
    const { running, address } = await start(['--out', '.env'])
    await finishLogin(address)
    const { code, stdout, stderr } = await running.ended()
    assert.equal(code, 0, stderr)
    const [, value = ''] =
      readFileSync(join(script.dir, '.env'), 'utf8').match(/^FIRSTKEY_API_KEY=(\w+)$/m) ?? []
    assert.equal(await dataPlane(service, value), 200)
    assert.ok(!`${stdout}${stderr}`.includes(value))
  })

  await t.test('ignores every request that is not the response to its own', async () => {
    const { running, address } = await start([])
    const { searchParams } = new URL(address)
    const state = searchParams.get('state') ?? ''
    const iss = encodeURIComponent(service.url)
    const host = new URL(searchParams.get('redirect_uri') ?? '').host
    const own = `/callback?code=x&state=${state}&iss=${iss}`
    for (const [status, path, headers, method] of [
      [421, own, { host: `localhost:${host.split(':')[1]}` }],
      [421, own, { host: 'evil.example.com' }],
      [404, `/other?code=x&state=${state}&iss=${iss}`],
      [404, '//'],
      [404, 'http://evil.example.com/'],
      [405, own, {}, 'POST'],
      [400, `/callback?code=x&iss=${iss}`],
      [400, `/callback?code=x&state=${state}x&iss=${iss}`],
      [400, `/callback?error=access_denied&iss=${iss}`],
      [400, `/callback?%E0%A4%A&state=${state.slice(1)}`],
    ] as const) {
      assert.equal((await call(address, path, { host, ...headers }, method)).status, status, path)
    }
    await finishLogin(address)
    await assertRegistered(service, running)
  })

  await t.test('stops at a response of another issuer, a refusal, and a code that is not good', async () => {
    const before = service.gateway.account.keys.size
    const callback = (address: string, query: Record<string, string>) => {
      const state = new URL(address).searchParams.get('state') ?? ''
      const { host } = new URL(new URL(address).searchParams.get('redirect_uri') ?? '')
      return call(address, `/callback?${new URLSearchParams({ state, ...query })}`, { host })
    }
    for (const [title, act, message] of [
      [
        'another iss',
        (a) => callback(a, { code: 'x', iss: 'https://evil.example.com' }),
        /came back from https:\/\/evil/,
      ],
      ['no iss', (a) => callback(a, { code: 'x' }), /it is not used/],
      ['no code', (a) => callback(a, { iss: service.url }), /without a code/],
      ['a wrong code', (a) => callback(a, { iss: service.url, code: 'x' }), /invalid_grant/],
      [
        'an error with words of somebody',
        (a) => callback(a, { iss: service.url, error: 'x', error_description: 'a\u001b[2Jb' }),
        /The login failed: a\uFFFD\[2Jb \(x\)/,
      ],
      ['a person who cancels', (a) => finishLogin(a, 'cancel'), /access_denied/],
    ] as readonly [
      string,
      (address: string) => Promise<{ status: number | undefined; body: string }>,
      RegExp,
    ][]) {
      const { running, address } = await start([])
      const { status, body } = await act(address)
      assert.equal(status, 400, title)
      assert.match(body, /<h1>The login failed<\/h1>/, title)
      const { code, stderr, stdout } = await running.ended()
      assert.equal(code, 1, title)
      assert.match(stderr, message, title)
      assert.equal(stdout, '')
      assert.deepEqual(script.kept(), [], 'no request was sent')
    }
    assert.equal(service.gateway.account.keys.size, before)
  })

  await t.test('accepts one callback', async () => {
    const { running, address } = await start([])
    const { searchParams } = new URL(address)
    const { host } = new URL(searchParams.get('redirect_uri') ?? '')
    const query = new URLSearchParams({ state: searchParams.get('state') ?? '', iss: service.url, code: 'x' })
    const results = await Promise.allSettled(
      [1, 2, 3].map(() => call(address, `/callback?${query}`, { host })),
    )
    const titles = results.flatMap((one) =>
      one.status === 'fulfilled' ? [one.value.body.match(/<h1>(.*)<\/h1>/)?.[1]] : [],
    )
    assert.equal(titles.filter((title) => title === 'The login failed').length, 1)
    assert.equal((await running.ended()).code, 1)
  })

  await t.test('ends with the wait, with Ctrl-C, and leaves nothing', async () => {
    for (const args of [[], ['--no-browser']]) {
      const { running } = await start(['--out', 'no.env', ...args], {}, { input: 'pipe' })
      assert.ok(existsSync(join(script.dir, 'no.env')))
      running.child.kill('SIGINT')
      assert.equal((await running.ended()).code, 130)
      const late = await start(['--out', 'no.env', '--max-wait', '1', ...args], {}, { input: 'pipe' })
      const { code, stderr } = await late.running.ended()
      assert.equal(code, 1)
      assert.match(stderr, /no login within --max-wait \(1 s\)/)
      assert.ok(!existsSync(join(script.dir, 'no.env')))
      assert.deepEqual(script.kept(), [])
    }
  })

  await t.test('says so where no browser can be opened', async () => {
    const program = readFileSync(browser)
    writeFileSync(browser, '#!/bin/sh\nexit 3\n')
    const { running, address } = await start([])
    await running.seen(/No browser was opened.*--no-browser/)
    writeFileSync(browser, program)
    await finishLogin(address)
    await assertRegistered(service, running)
  })

  await t.test(
    'without a browser reads the code that the page shows, and asks again for a wrong one',
    async () => {
      rmSync(opened, { force: true })
      for (const [args, env] of [
        [['--no-browser'], {}],
        [[], { DISPLAY: '' }],
        [[], { SSH_CONNECTION: '10.0.0.1 1 10.0.0.2 22' }],
      ] as const) {
        const { running, address } = await start(args, env, { input: 'pipe' })
        assert.equal(new URL(address).searchParams.get('redirect_uri'), `${service.url}/connect/code`)
        running.child.stdin?.write('\nnonsense\n')
        await running.seen(/No code was entered[\s\S]*invalid_grant[\s\S]*Copy the code again/)
        const page = await finishLogin(address)
        const code = codeOf(page)
        assert.ok(page.body.includes(code))
        running.child.stdin?.write(`  ${code}\r\n`)
        await assertRegistered(service, running)
      }
      assert.ok(!existsSync(opened), 'no browser was opened')
    },
  )

  await t.test(
    'keeps the token of the login with the Idempotency-Key, and the next run needs no login',
    async () => {
      const before = service.gateway.account.keys.size
      const { running, address } = await start([])
      const arrived = new Promise<void>((resolve) => {
        service.gateway.onCall = () => resolve()
      })
      await finishLogin(address)
      await arrived
      running.child.kill('SIGTERM')
      assert.equal((await running.ended()).code, 143)
      const [file = ''] = script.kept()
      assert.equal(statSync(join(script.dir, file)).mode & 0o777, 0o600)
      const again = script.start(['--login', '--name', 'acme-agent'])
      await assertRegistered(service, again)
      assert.deepEqual(script.kept(), [])
      assert.equal(service.gateway.account.keys.size, before + 1)
    },
  )

  await t.test(
    'curl | node - --login reads the code from the terminal',
    { skip: !hasTerminals() },
    async () => {
      const line = `cat ../register.mjs | '${process.execPath}' - --login --no-browser --name acme-agent`
      // `script` gives it a terminal, and sends there what comes in here. The output has both.
      const running = script.start(
        [],
        { SHELL: '/bin/sh' },
        { command: ['script', '-qefc', line, '/dev/null'], input: 'pipe' },
      )
      const [address] = await running.seen(/http:\S+\/connect\/authorize\S+(?=\s[\s\S]*Code: )/)
      running.child.stdin?.write(`${codeOf(await finishLogin(address))}\r`)
      const { code } = await running.ended()
      assert.equal(code, 0, running.output.stdout)
      const [, value = ''] = running.output.stdout.match(/^api_key_value=(\w+)\r?$/m) ?? []
      assert.equal(await dataPlane(service, value), 200)
    },
  )
})
