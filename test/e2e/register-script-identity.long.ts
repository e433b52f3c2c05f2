import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { reservePort } from '../../src/reserve-port.ts'
import { startFaultyFront } from '../support/faulty-front.ts'
import { startForwardProxy } from '../support/forward-proxy.ts'
import { kubernetesClaims } from '../support/identity/claims.ts'
import { startFederated } from '../support/identity/federated.ts'
import { startGitHubActions } from '../support/identity/github-actions.ts'
import { fetchScript } from '../support/register-script.ts'
import { startService, tempDir } from '../support/service.ts'

/** The audience that the service of these tests wants. */
const AUDIENCE = 'https://keys.example.com'

test('register.mjs without an identity lists what it looked for and what to do', async (t) => {
  const { run } = await fetchScript(t, await startService(t))
  for (const [env, message] of [
    [
      {},
      /FIRSTKEY_TOKEN is not set[\s\S]*FIRSTKEY_TOKEN_FILE is not set[\s\S]*GitHub Actions[\s\S]*\/var\/run\/secrets\/tokens\/firstkey/,
    ],
    [{ FIRSTKEY_TOKEN: '', FIRSTKEY_TOKEN_FILE: '' }, /FIRSTKEY_TOKEN is not set/],
    [{ FIRSTKEY_TOKEN: '" "' }, /FIRSTKEY_TOKEN is not set/],
    [{ GITHUB_ACTIONS: 'true' }, /add "permissions: \{ id-token: write \}" to the job/],
    [{ GITHUB_ACTIONS: 'true', ACTIONS_ID_TOKEN_REQUEST_URL: 'http://x/' }, /add "permissions/],
    [{ GITLAB_CI: 'true' }, /"id_tokens:" in the job/],
    [{ FIRSTKEY_TOKEN_FILE: '/nowhere/token' }, /\/nowhere\/token with the token cannot be read \(ENOENT\)/],
    [{ FIRSTKEY_TOKEN_FILE: '/' }, /cannot be read \(EISDIR\)/],
    [{ FIRSTKEY_TOKEN_FILE: '/dev/null' }, /\/dev\/null has no token in it/],
  ] as const) {
    const { code, stderr, stdout } = await run(['--name', 'a'], env)
    assert.equal(code, 2, stderr)
    assert.equal(stdout, '')
    assert.match(stderr, message)
    assert.match(stderr, /Try: node register\.mjs --help\n$/)
  }
})

test('register.mjs --help has at most 80 columns', async (t) => {
  const { run } = await fetchScript(t, await startService(t))
  const { stdout } = await run(['--help'])
  for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line)
})

test('register.mjs names the identity that it uses, which is the first in its order', async (t) => {
  const service = await startFederated(t)
  const { issuer } = service
  const actions = await startGitHubActions(t, issuer)
  actions.claims = { team: 'agents' }
  const dir = tempDir(t)
  const [file, projected] = [join(dir, 'token'), join(dir, 'projected')]
  const script = await fetchScript(t, service, (source) => {
    assert.ok(source.includes("'/var/run/secrets/tokens/firstkey'"))
    return source.replace('/var/run/secrets/tokens/firstkey', projected)
  })
  const { secret } = await service.token()
  const gitlab = service.jwt({ sub: 'project_path:acme/api:ref_type:branch:ref:main' })
  writeFileSync(file, `${service.jwt({ sub: 'in\u001b[31m a file' })}\n`)
  writeFileSync(projected, service.jwt(kubernetesClaims('agents', 'crawler')))
  const all = { FIRSTKEY_TOKEN: secret, FIRSTKEY_TOKEN_FILE: file, ...actions.env }
  const { FIRSTKEY_TOKEN: _, ...withoutToken } = all
  for (const [env, line] of [
    [all, 'FIRSTKEY_TOKEN (a bootstrap token)'],
    [
      { ...all, FIRSTKEY_TOKEN: gitlab },
      `FIRSTKEY_TOKEN (an identity token of ${issuer.url} for project_path:acme/api:ref_type:branch:ref:main)`,
    ],
    [withoutToken, `FIRSTKEY_TOKEN_FILE (an identity token of ${issuer.url} for in\uFFFD[31m a file)`],
    [actions.env, 'GitHub Actions (repository acme/agents)'],
    [{}, 'Kubernetes (service account agents/crawler)'],
  ] as const) {
    const { code, stderr } = await script.run(['--login', '--name', 'acme-agent'], env)
    assert.equal(code, 0, stderr)
    assert.equal(stderr, `identity: ${line}\n`)
  }
  assert.deepEqual(script.kept(), [])
  assert.equal(service.gateway.account.keys.size, 5)
})

test('register.mjs sends no token that is for the API of its Kubernetes cluster', async (t) => {
  const service = await startFederated(t)
  const { issuer } = service
  const script = await fetchScript(t, service)
  const file = join(tempDir(t), 'token')
  for (const claims of [
    kubernetesClaims('agents', 'default', { aud: ['https://kubernetes.default.svc.cluster.local', 'k3s'] }),
    kubernetesClaims('agents', 'default', { aud: [issuer.url] }),
    kubernetesClaims('agents', 'default', { aud: issuer.url }),
    { iss: 'kubernetes/serviceaccount', aud: undefined },
  ]) {
    writeFileSync(file, issuer.sign(claims))
    const { code, stderr } = await script.run(['--name', 'a'], { FIRSTKEY_TOKEN_FILE: file })
    assert.equal(code, 2)
    assert.match(stderr, /is not sent\. Use a projected token whose audience/)
  }
  assert.ok(!service.logLines.some((line) => line.includes('"POST"')), 'no request was sent')
})

test('register.mjs reads FIRSTKEY_TOKEN_FILE again at every try, and waits for a fresh token', async (t) => {
  const service = await startFederated(t)
  const front = await startFaultyFront(t, service.url, ['busy'])
  const script = await fetchScript(t, service)
  const file = join(tempDir(t), 'token')
  const now = Math.floor(Date.now() / 1_000)
  const used = service.jwt()
  await service.joined({ jwt: used, name: 'other' })

  writeFileSync(file, service.jwt({ iat: now - 900, exp: now - 600 }))
  const env = { FIRSTKEY_URL: front.url, FIRSTKEY_TOKEN_FILE: file }
  const running = script.start(['--name', 'acme-agent'], env)
  await running.seen(/overloaded.*Retrying/)
  await running.seen(/token_expired.*Retrying/)
  writeFileSync(file, used)
  await running.seen(/token_replayed.*Waiting for another token in .*token\. Retrying/)
  writeFileSync(file, service.jwt())
  const { code, stderr } = await running.ended()
  assert.equal(code, 0, stderr)
  assert.equal(new Set(front.seen.map(({ key }) => key)).size, 1, 'one Idempotency-Key')
  assert.deepEqual(script.kept(), [])
  assert.equal(service.gateway.account.keys.size, 2)
})

test('register.mjs waits while the keys of the issuer of its token cannot be read', async (t) => {
  let ahead = 0
  const service = await startFederated(t, { clock: () => Date.now() + ahead })
  const script = await fetchScript(t, service)
  service.issuer.behaviour = 'failing'
  assert.equal((await service.join()).status, 503)
  // The service reads the keys again 10 seconds after a failure.
  ahead += 9_000
  const running = script.start(['--name', 'acme-agent'], { FIRSTKEY_TOKEN: service.jwt() })
  await running.seen(/identity_provider_unavailable.*Retrying/)
  service.issuer.behaviour = 'up'
  ahead += 2_000
  const { code, stderr } = await running.ended()
  assert.equal(code, 0, stderr)
})

test('register.mjs gets the same key in another run with another identity token', async (t) => {
  const service = await startFederated(t)
  const script = await fetchScript(t, service)
  const actions = await startGitHubActions(t, service.issuer)
  actions.claims = { team: 'agents' }
  const file = join(tempDir(t), 'token')
  const now = Math.floor(Date.now() / 1_000)
  const old = { iat: now - 900, exp: now - 600 }
  for (const [sub, prove] of [
    [
      'by a variable',
      (claims: object) => ({ FIRSTKEY_TOKEN: service.jwt({ sub: 'by a variable', ...claims }) }),
    ],
    [
      'by a file',
      (claims: object) => {
        writeFileSync(file, service.jwt({ sub: 'by a file', ...claims }))
        return { FIRSTKEY_TOKEN_FILE: file }
      },
    ],
    [
      'by GitHub Actions',
      (claims: object) => {
        actions.claims = { team: 'agents', ...claims }
        return actions.env
      },
    ],
  ] as const) {
    const before = service.gateway.account.keys.size
    const front = await startFaultyFront(t, service.url, ['lost'])
    const args = ['--name', 'acme-agent', '--audience', AUDIENCE, '--max-wait', '0']
    for (const [claims, message] of [
      [{}, /cannot be reached/],
      [old, /token_expired/],
      [{}, /^identity: .*\n$/],
    ] as const) {
      const { code, stderr } = await script.run(args, { ...prove(claims), FIRSTKEY_URL: front.url })
      assert.match(stderr, message, sub)
      const isLast = front.seen.length === 3
      assert.equal(code, isLast ? 0 : 1, stderr)
      assert.equal(script.kept().length, isLast ? 0 : 1, sub)
    }
    assert.equal(front.seen.at(-1)?.isReplayed, true, sub)
    assert.match(front.seen[0]?.key ?? '', /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
    assert.equal(service.gateway.account.keys.size, before + 1, sub)
  }
})

test('register.mjs gets a fresh token for each try from GitHub Actions, for the audience that the service names', async (t) => {
  const service = await startFederated(t)
  const script = await fetchScript(t, service)
  const actions = await startGitHubActions(t, service.issuer)
  actions.claims = { team: 'agents' }
  // The first request is for the audience.
  const front = await startFaultyFront(t, service.url, ['busy'])
  actions.failures.push(503, 0)
  const done = await script.run(['--name', 'acme-agent'], { ...actions.env, FIRSTKEY_URL: front.url })
  assert.equal(done.code, 0, done.stderr)
  assert.deepEqual(actions.audiences, [AUDIENCE])

  const losing = await startFaultyFront(t, service.url, ['lost', 'busy'])
  const args = ['--name', 'acme-other', '--audience', AUDIENCE]
  const again = await script.run(args, { ...actions.env, FIRSTKEY_URL: losing.url })
  assert.equal(again.code, 0, again.stderr)
  assert.equal(new Set(actions.tokens).size, 4)
  assert.equal(losing.seen.at(-1)?.isReplayed, true)
  assert.equal(service.gateway.account.keys.size, 2)
  const printed = [done, again].map(({ stdout, stderr }) => stdout + stderr).join()
  assert.ok(!actions.tokens.some((token) => printed.includes(token)))

  for (const status of [401, 403, 404]) {
    actions.failures.push(status)
    const { code, stderr } = await script.run(['--name', 'a'], actions.env)
    assert.equal(code, 1)
    assert.match(stderr, new RegExp(`HTTP ${status}[\\s\\S]*id-token: write`))
    assert.deepEqual(script.kept(), [], 'no request was sent')
  }
  const plain = await fetchScript(t, await startService(t))
  const refused = await plain.run(['--name', 'a'], actions.env)
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /takes neither identity tokens nor logins/)
  assert.equal(actions.tokens.length, 4)
})

test("register.mjs requests no token for another service's audience, unless its script or its caller names it", async (t) => {
  const { port, release } = await reservePort('127.0.0.1')
  release()
  const url = `http://keys.invalid:${port}`
  const service = await startFederated(t, { env: { PORT: String(port), PUBLIC_URL: url } })
  const actions = await startGitHubActions(t, service.issuer)
  actions.claims = { team: 'agents' }
  // Only the proxy knows the host of the service.
  const proxy = await startForwardProxy(t)
  const proxied = { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: proxy.url, NO_PROXY: '127.0.0.1' }
  const env = { ...actions.env, ...proxied, FIRSTKEY_URL: url }
  const foreign = await fetchScript(t, service, (source) => source.replace(JSON.stringify(AUDIENCE), "''"))
  const refused = await foreign.run(['--name', 'acme-agent'], env)
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /may be another service[\s\S]*--audience 'https:\/\/keys\.example\.com'/)
  assert.deepEqual(actions.audiences, [])

  const named = await foreign.run(['--name', 'acme-agent', '--audience', AUDIENCE], env)
  assert.equal(named.code, 0, named.stderr)
  const own = await fetchScript(t, service)
  const known = await own.run(['--name', 'acme-agent'], { ...env, FIRSTKEY_URL: '' })
  assert.equal(known.code, 0, known.stderr)
  assert.deepEqual(actions.audiences, [AUDIENCE, AUDIENCE])
})
