import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { githubClaims, kubernetesClaims } from '../support/identity/claims.ts'
import { startGitHubActions } from '../support/identity/github-actions.ts'
import { startIssuer } from '../support/identity/issuer.ts'
import { fetchScript } from '../support/register-script.ts'
import { startService, tempDir } from '../support/service.ts'

const CREDENTIAL = {
  registration_id: 'reg_1',
  api_key_id: 'keyid',
  api_key_value: 'keyvalue',
  name: 'a',
  use: { header: 'x-api-key', base_url: 'http://api.example.com', curl: 'curl' },
  management: { token: 'fkm_1', url: 'http://keys.example.com/register/reg_1' },
}

const refusal = (status: number, code: string, retryable = false) =>
  [
    status,
    { code, retryable, title: 'Refused', detail: 'so', instance: 'req_1', next_step: 'Go on.' },
  ] as const

/** Starts a service that answers `POST /register` as ordered, then with a credential. */
async function startScripted(t: TestContext, metadata: object | null) {
  const requests: { bearer: string; key: string; body: string }[] = []
  const answers: (readonly [number, object])[] = []
  const server = createServer(async (request, response) => {
    const send = (status: number, content: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(content))
    if (request.url === '/.well-known/oauth-authorization-server')
      return void (metadata === null ? send(404, {}) : send(200, metadata))
    const { authorization = '', 'idempotency-key': key } = request.headers
    requests.push({
      bearer: authorization.replace('Bearer ', ''),
      key: String(key),
      body: await text(request),
    })
    const [status, content] = answers.shift() ?? [201, CREDENTIAL]
    send(status, content)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, answers }
}

async function startAll(t: TestContext, metadata: object | null) {
  const issuer = await startIssuer(t)
  const service = await startScripted(t, metadata)
  const script = await fetchScript(t, await startService(t))
  const env = { FIRSTKEY_URL: service.url }
  return { issuer, service, script, env }
}

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
  const { issuer, service, env } = await startAll(t, { issuer: 'x', token_endpoint: 'x' })
  const actions = await startGitHubActions(t, issuer)
  const dir = tempDir(t)
  const [file, projected] = [join(dir, 'token'), join(dir, 'projected')]
  const script = await fetchScript(t, await startService(t), (source) => {
    assert.ok(source.includes("'/var/run/secrets/tokens/firstkey'"))
    return source.replace('/var/run/secrets/tokens/firstkey', projected)
  })
  const gitlab = issuer.sign({ sub: 'project_path:acme/api:ref_type:branch:ref:main' })
  writeFileSync(file, `${issuer.sign({ sub: 'in\u001b[31m a file' })}\n`)
  writeFileSync(projected, issuer.sign(kubernetesClaims()))
  const all = { ...env, FIRSTKEY_TOKEN: 'fkb_x', FIRSTKEY_TOKEN_FILE: file, ...actions.env }
  const { FIRSTKEY_TOKEN: _, ...withoutToken } = all
  for (const [given, line] of [
    [all, 'FIRSTKEY_TOKEN (a bootstrap token)'],
    [
      { ...all, FIRSTKEY_TOKEN: gitlab },
      `FIRSTKEY_TOKEN (an identity token of ${issuer.url} for project_path:acme/api:ref_type:branch:ref:main)`,
    ],
    [withoutToken, `FIRSTKEY_TOKEN_FILE (an identity token of ${issuer.url} for in\uFFFD[31m a file)`],
    [{ ...env, ...actions.env }, 'GitHub Actions (repository acme/agents)'],
    [env, 'Kubernetes (service account agents/crawler)'],
  ] as const) {
    const { code, stderr } = await script.run(['--name', 'a'], given)
    assert.equal(code, 0, stderr)
    assert.equal(stderr, `identity: ${line}\n`)
  }
  assert.deepEqual(script.kept(), [])
  assert.equal(service.requests.length, 5)
})

test('register.mjs sends no token that is for the API of its Kubernetes cluster', async (t) => {
  const { issuer, service, script, env } = await startAll(t, null)
  const file = join(tempDir(t), 'token')
  for (const claims of [
    kubernetesClaims('agents', 'default', { aud: ['https://kubernetes.default.svc.cluster.local', 'k3s'] }),
    kubernetesClaims('agents', 'default', { aud: [issuer.url] }),
    kubernetesClaims('agents', 'default', { aud: issuer.url }),
    { iss: 'kubernetes/serviceaccount', aud: undefined },
  ]) {
    writeFileSync(file, issuer.sign(claims))
    const { code, stderr } = await script.run(['--name', 'a'], { ...env, FIRSTKEY_TOKEN_FILE: file })
    assert.equal(code, 2)
    assert.match(stderr, /is not sent\. Use a projected token whose audience/)
  }
  assert.deepEqual(service.requests, [])
})

test('register.mjs reads FIRSTKEY_TOKEN_FILE again at every try, and waits for a fresh token', async (t) => {
  const { issuer, service, script, env } = await startAll(t, null)
  const file = join(tempDir(t), 'token')
  const [first, second, third] = ['1', '2', '3'].map((sub) => issuer.sign({ sub })) as [
    string,
    string,
    string,
  ]
  writeFileSync(file, first)
  service.answers.push(
    refusal(503, 'identity_provider_unavailable', true),
    refusal(401, 'token_expired'),
    refusal(401, 'token_replayed'),
  )
  const running = script.start(['--name', 'a'], { ...env, FIRSTKEY_TOKEN_FILE: file })
  await running.seen(/identity_provider_unavailable.*Retrying/)
  writeFileSync(file, second)
  await running.seen(/token_expired.*Retrying/)
  writeFileSync(file, third)
  const { code, stderr } = await running.ended()
  assert.equal(code, 0, stderr)
  assert.deepEqual(
    service.requests.map(({ bearer }) => bearer),
    [first, second, third, third],
  )
  assert.equal(new Set(service.requests.map(({ key }) => key)).size, 1, 'one Idempotency-Key')
  assert.deepEqual(script.kept(), [])
})

test('register.mjs keeps its Idempotency-Key for another run with another identity token', async (t) => {
  const { issuer, service, script, env } = await startAll(t, null)
  const actions = await startGitHubActions(t, issuer)
  const file = join(tempDir(t), 'token')
  for (const [title, identity] of [
    ['FIRSTKEY_TOKEN', () => ({ FIRSTKEY_TOKEN: issuer.sign(githubClaims()) })],
    [
      'FIRSTKEY_TOKEN_FILE',
      () => {
        writeFileSync(file, issuer.sign())
        return { FIRSTKEY_TOKEN_FILE: file }
      },
    ],
    ['GitHub Actions', () => actions.env],
  ] as const) {
    service.requests.length = 0
    for (const answer of [refusal(503, 'overloaded', true), refusal(401, 'token_expired'), undefined]) {
      if (answer !== undefined) service.answers.push(answer)
      const args = ['--name', 'a', '--audience', 'it', '--max-wait', '0']
      const { code, stderr } = await script.run(args, { ...env, ...identity() })
      assert.equal(code, answer === undefined ? 0 : 1, stderr)
      assert.equal(script.kept().length, answer === undefined ? 0 : 1, title)
    }
    const [one, ...others] = service.requests
    for (const other of others) {
      assert.equal(other.key, one?.key, title)
      assert.notEqual(other.bearer, one?.bearer, title)
    }
    assert.match(one?.key ?? '', /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
  }
  // An ordinary token that has expired is final.
  service.answers.push(refusal(401, 'token_expired'))
  assert.equal((await script.run(['--name', 'a'], { ...env, FIRSTKEY_TOKEN: 'fkb_x' })).code, 1)
  assert.deepEqual(script.kept(), [])
})

test('register.mjs gets a fresh token for each try from GitHub Actions, for the audience that the service names', async (t) => {
  const metadata = { issuer: '', token_endpoint: 'x', identity_token_audience: 'https://keys.example.com' }
  const { issuer, service, script, env } = await startAll(t, metadata)
  const actions = await startGitHubActions(t, issuer)
  actions.failures.push(503, 0)
  service.answers.push(refusal(401, 'token_replayed'))
  const done = await script.run(['--name', 'a'], { ...env, ...actions.env })
  assert.equal(done.code, 0, done.stderr)
  assert.deepEqual(actions.audiences, Array(2).fill('https://keys.example.com'))
  assert.deepEqual(
    service.requests.map(({ bearer }) => bearer),
    actions.tokens,
  )
  assert.equal(new Set(service.requests.map(({ key }) => key)).size, 1, 'one Idempotency-Key')
  assert.ok(!actions.tokens.some((token) => `${done.stderr}${done.stdout}`.includes(token)))

  for (const status of [401, 403, 404]) {
    actions.failures.push(status)
    const { code, stderr } = await script.run(['--name', 'a'], { ...env, ...actions.env })
    assert.equal(code, 1)
    assert.match(stderr, new RegExp(`HTTP ${status}[\\s\\S]*id-token: write`))
    assert.deepEqual(script.kept(), [], 'no request was sent')
  }
  assert.equal(service.requests.length, 2)
})
