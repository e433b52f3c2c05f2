import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parseTrust } from '../../src/auth/federation/trust-file.ts'
import type { Actor } from '../../src/store/audit.ts'
import { openStore } from '../../src/store/open.ts'
import { awsClaims, githubClaims } from '../support/identity/claims.ts'
import { startIssuer } from '../support/identity/issuer.ts'
import { startProvider } from '../support/identity/provider.ts'
import { runCli } from '../support/server-process.ts'
import { tempDir } from '../support/service.ts'

const AUDIENCE = 'https://keys.example.com'

/** A trust file for an issuer with the claims of GitHub, and the commands on it. */
async function setUp(t: TestContext, { rules = RULES }: { rules?: string } = {}) {
  const dir = tempDir(t)
  const issuer = await startIssuer(t, { alg: 'RS256', audience: AUDIENCE })
  const file = join(dir, 'trust.yaml')
  writeFileSync(file, `issuers: { github: { kind: github, issuer: "${issuer.url}" } }\n${rules}`)
  const env = {
    ...{ TRUST_FILE: file, PUBLIC_URL: AUDIENCE, USAGE_PLANS: 'gold=abc,free=def' },
    STORE: `sqlite:${join(dir, 'firstkey.db')}`,
  }
  const cli = (args: string[], more: Record<string, string> = {}) =>
    runCli(t, ['trust', ...args], { ...env, ...more })
  return { dir, issuer, file, env, cli }
}

const RULES = `rules:
  - id: acme-ci
    issuer: github
    match: { repository_id: "42", environment: prod, event_name: [push, workflow_dispatch] }
    identity: [repository_id, environment]
    grant: { plans: [gold], key_ttl: 24h, max_live: 5 }
  - id: acme-org
    issuer: github
    match: { repository_owner_id: "2020" }
    identity: [repository_id]
    grant: { plans: [free], key_ttl: 12h, on_repeat: add }
`

test('trust check says the algorithms and key ids of each issuer, and its rules, as text and as JSON', async (t) => {
  const { issuer, file, cli } = await setUp(t)
  const kid = issuer.keys[0]?.kid ?? ''
  const { code, stdout, stderr } = await cli(['check'])
  assert.equal(code, 0, stderr)
  for (const line of [
    /^issuer +github \(github\)$/m,
    RegExp(`^keys +${kid}$`, 'm'),
    /^algorithms +RS256$/m,
    /^tokens +for one registration each$/m,
    /^audience +https:\/\/keys\.example\.com$/m,
    /^acme-ci +github +repository_id,environment +gold +1d +5 +rotate$/m,
    /^acme-org +github +repository_id +free +12h +unlimited +add$/m,
  ])
    assert.match(stdout, line)
  assert.match(stderr, /trust\.yaml is right, and its issuers can be used\.\n$/)

  const json = JSON.parse((await cli(['check', file, '--json'], { TRUST_FILE: '' })).stdout)
  assert.deepEqual([json.valid, json.audience, json.faults, json.warnings], [true, AUDIENCE, [], []])
  assert.deepEqual(json.issuers[0].key_ids, [kid])
  assert.deepEqual(json.issuers[0].algorithms, ['RS256'])
  assert.equal(json.rules[1].key_ttl_seconds, 43_200)
})

test('trust check lists every fault with line and column, and asks no issuer', async (t) => {
  const { issuer, file, cli } = await setUp(t)
  writeFileSync(
    file,
    `issuers:
  github: { kind: github, issuer: "${issuer.url}" }
  staff: { kind: oidc, issuer: "${issuer.url}/staff", login: { client_id: firstkey, client_secret_env: OIDC_SECRET } }
rules:
  - id: everybody
    issuer: github
    match: { environment: prod }
    grant: { plans: [platinum] }
`,
  )
  const { code, stdout, stderr } = await cli(['check'])
  assert.deepEqual([code, stdout], [1, ''])
  for (const fault of [
    /trust\.yaml:3:\d+: .*OIDC_SECRET/,
    /trust\.yaml:7:\d+: .*repository_id/,
    /trust\.yaml:8:\d+: .*key_ttl/,
    /trust\.yaml:8:\d+: .*USAGE_PLANS/,
  ])
    assert.match(stderr, fault)
  assert.deepEqual(issuer.requests, { discovery: 0, jwks: 0 })
  const json = await cli(['check', '--json'])
  assert.equal(json.code, 1)
  const { valid, faults } = JSON.parse(json.stdout)
  assert.equal(valid, false)
  assert.deepEqual(
    faults.map(({ line }: { line: number }) => line),
    [3, 7, 8, 8],
  )
  assert.ok(
    faults.every(({ column, message }: { column: number; message: string }) => column > 0 && message !== ''),
  )
})

test('trust check fails if the keys of an issuer cannot be read, and says why', async (t) => {
  const { issuer, cli } = await setUp(t)
  for (const [behaviour, reason] of [
    ['down', /an issuer cannot be used:\n +github: http:\/\/127\.0\.0\.1/],
    ['redirecting', /redirects/],
    ['other issuer', /it names the issuer .*\/other/],
    ['not json', /no discovery document/],
  ] as const) {
    issuer.behaviour = behaviour
    const { code, stdout, stderr } = await cli(['check'])
    assert.equal(code, 1)
    assert.match(stderr, reason)
    assert.match(stdout, /^fault /m)
  }
  const offline = await cli(['check', '--offline'])
  assert.equal(offline.code, 0)
  assert.match(offline.stderr, /no issuer was asked/)
  const json = JSON.parse((await cli(['check', '--json'])).stdout)
  assert.equal(json.valid, false)
  assert.match(json.faults[0].message, /^github: /)
})

test('trust check warns of what is likely a mistake', async (t) => {
  const { file, cli } = await setUp(t, { rules: 'rules: []\n' })
  chmodSync(file, 0o666)
  const { code, stderr } = await cli(['check', '--offline'], { PUBLIC_URL: '' })
  assert.equal(code, 0)
  assert.match(
    stderr,
    /Warning: PUBLIC_URL is not set, so identity tokens must have the audience http:\/\/localhost:3000/,
  )
  assert.match(stderr, /Warning: every user of this machine can write the trust file/)
  assert.match(stderr, /Warning: no rule is for the issuer github, so all its/)
  const unset = await setUp(t)
  const unchecked = await unset.cli(['check', '--offline'], { USAGE_PLANS: '' })
  assert.match(unchecked.stderr, /Warning: USAGE_PLANS is not set here, so it was not checked .*: gold, free/)
  const none = await unset.cli(['check'], { TRUST_FILE: '' })
  assert.equal(none.code, 1)
  assert.match(none.stderr, /TRUST_FILE is not set/)
})

test('trust check begins a login at each login provider, and names the redirect URI to register there', async (t) => {
  const dir = tempDir(t)
  const provider = await startProvider({ clientSecret: 'x'.repeat(40) })
  t.after(() => provider.close())
  const file = join(dir, 'trust.yaml')
  writeFileSync(
    file,
    `issuers:
  staff:
    { kind: oidc, issuer: "${provider.issuer}", login: { client_id: firstkey, client_secret_env: OIDC_SECRET, label: Acme SSO } }
rules:
  - { id: staff, issuer: staff, match: { email: alice@example.com }, grant: { key_ttl: 90d } }
`,
  )
  const env = { TRUST_FILE: file, PUBLIC_URL: `${AUDIENCE}/prod/`, OIDC_SECRET: 'x'.repeat(40) }
  const check = (...args: string[]) => runCli(t, ['trust', 'check', ...args], env)
  const callback = `${AUDIENCE}/prod/connect/callback`
  const unregistered = await check()
  assert.equal(unregistered.code, 0, unregistered.stderr)
  assert.match(unregistered.stdout, /^login +"Sign in with Acme SSO", client firstkey, whose secret is set$/m)
  assert.match(unregistered.stdout, RegExp(`^redirect uri +${callback} `, 'm'))
  assert.match(unregistered.stderr, RegExp(`Warning: staff: the provider refuses a login .*${callback}\\n`))
  provider.redirectUris.push(callback)
  const registered = await check('--json')
  assert.equal(registered.code, 0)
  assert.deepEqual(JSON.parse(registered.stdout).warnings, [])
  assert.equal(JSON.parse(registered.stdout).issuers[0].login.redirect_uri, callback)
  assert.ok(!`${registered.stdout}${registered.stderr}`.includes(env.OIDC_SECRET))

  provider.intercept = (_, response) => {
    response.writeHead(503).end()
    return true
  }
  const down = await check()
  assert.equal(down.code, 1)
  assert.match(down.stderr, /staff: login: Acme SSO cannot be reached right now\./)
})

/** Writes a token into a file, explains it, and checks that it is not printed. */
async function explained(
  { dir, cli }: Awaited<ReturnType<typeof setUp>>,
  jwt: string,
  ...args: string[]
): Promise<{ code: number | string; stdout: string; stderr: string; all: string }> {
  const file = join(dir, 'token.jwt')
  writeFileSync(file, `${jwt}\n`)
  const result = await cli(['explain', '--token-file', file, ...args])
  const all = result.stdout + result.stderr
  for (const part of jwt.split('.'))
    if (part.length > 20) assert.ok(!all.includes(part), 'the token is printed')
  return { ...result, all }
}

test('trust explain says claim by claim why each rule matches a token, or does not', async (t) => {
  const world = await setUp(t)
  const { issuer } = world
  const { code, stdout } = await explained(
    world,
    issuer.sign(githubClaims({ environment: 'dev', repository_id: 42 })),
  )
  assert.equal(code, 0)
  assert.match(stdout, /^The token is verified/)
  assert.match(stdout, /^Rule acme-ci: does not match$/m)
  assert.match(
    stdout,
    /NO +match +repository_id +"42" +42 +repository_id .*number in the token: types are compared/,
  )
  assert.match(stdout, /NO +match +environment +"prod" +"dev" +environment has another value/)
  assert.match(stdout, /yes +match +event_name +"push" or "workflow_dispatch" +"push"/)
  assert.match(stdout, /^Rule acme-org: matches$/m)
  assert.match(
    stdout,
    /^Result: rule acme-org lets it in, as tok_\w{20} with the identity repository_id=42\.$/m,
  )
  assert.match(stdout, /^ {2}repository_owner_id +"2020"$/m)

  const both = await explained(world, issuer.sign(githubClaims()), '--rule', 'acme-org')
  assert.match(both.stdout, /^Rule acme-org: matches, but acme-ci comes before it$/m)
  assert.doesNotMatch(both.stdout, /^Rule acme-ci/m)

  const json = JSON.parse(
    (await explained(world, issuer.sign(githubClaims({ environment: 'PROD' })), '--json')).stdout,
  )
  assert.deepEqual([json.verified, json.refusal, json.issuer.name], [true, null, 'github'])
  assert.deepEqual(
    json.rules.map(({ id, matches }: { id: string; matches: boolean }) => [id, matches]),
    [
      ['acme-ci', false],
      ['acme-org', true],
    ],
  )
  const [, environment] = json.rules[0].comparisons
  assert.deepEqual(environment, {
    ...{ part: 'match', claim: 'environment', wanted: ['prod'] },
    ...{ fault: 'differs in upper and lower case', found: 'PROD' },
  })
  assert.equal(json.decision.rule, 'acme-org')

  // Two firstkey secrets and a token in claims that a caller chooses.
  const chosen = githubClaims({
    ref: `fkb_${'a1'.repeat(19)}`,
    workflow: issuer.sign({}),
    environment: 'Bearer abcdefghijkl',
  })
  for (const form of [[], ['--json']]) {
    const { stdout: shown } = await explained(world, issuer.sign(chosen), ...form)
    assert.equal(shown.match(/fkb_|eyJ|abcdefghijkl/), null)
    assert.match(shown, /\[redacted\]/)
  }

  const unknown = await explained(world, issuer.sign(githubClaims()), '--rule', 'acme')
  assert.equal(unknown.code, 1)
  assert.match(unknown.stderr, /the trust file has no rule acme; it has acme-ci, acme-org/)
})

test('trust explain proposes a rule that lets the caller in, if none does', async (t) => {
  const world = await setUp(t)
  const claims = githubClaims({ repository_id: '7', repository_owner_id: '8' })
  const { stdout } = await explained(world, world.issuer.sign(claims))
  assert.match(stdout, /^Result: no rule lets it in\.$/m)
  const [, proposal = ''] = stdout.match(/add a rule such as this.*:\n([\s\S]*)$/) ?? []
  const trust = parseTrust(
    `issuers: { github: { kind: github } }\nrules:\n${proposal.replace('NAME', 'new')}`,
    { path: 'x', publicUrl: AUDIENCE, plans: null, variable: () => undefined },
  )
  assert.deepEqual(trust.rules[0]?.match, [{ claim: 'repository_id', values: ['7'] }])
})

test('trust explain explains a token that is refused, as not verified', async (t) => {
  const world = await setUp(t)
  const { issuer } = world
  const now = Math.floor(Date.now() / 1_000)
  const other = await startIssuer(t, { alg: 'RS256', audience: AUDIENCE })
  const cases: [jwt: string, refusal: RegExp][] = [
    [issuer.sign(githubClaims({ iat: now - 900, exp: now - 600 })), /REFUSED: token_expired/],
    [
      issuer.sign(githubClaims({ aud: 'https://other.example' })),
      /REFUSED: audience_mismatch[\s\S]*^Issuer "http:\S+", audience "https:\/\/other\.example", issued 20\S+, expires 20\S+\.$/m,
    ],
    [issuer.sign(githubClaims({ exp: 'never' })), /REFUSED: invalid_token[\s\S]* expires "never"\.$/m],
    [other.sign(githubClaims({ iss: issuer.url })), /REFUSED: invalid_token/],
    [issuer.sign(githubClaims(), { alg: 'none' }), /REFUSED: invalid_token/],
  ]
  for (const [jwt, refusal] of cases) {
    const { code, stdout } = await explained(world, jwt)
    assert.equal(code, 0)
    assert.match(stdout, refusal)
    assert.match(stdout, /is not verified/)
    assert.match(stdout, /^Rule acme-ci: matches$/m)
    assert.match(stdout, /^Result if it were verified: rule acme-ci lets it in/m)
  }
  const foreign = await explained(world, other.sign(githubClaims()))
  assert.match(foreign.stdout, /REFUSED: issuer_not_trusted/)
  assert.match(foreign.stdout, RegExp(`Issuers of the trust file: ${issuer.url}$`, 'm'))
  issuer.behaviour = 'down'
  const down = await explained(world, issuer.sign(githubClaims()))
  assert.match(down.stdout, /REFUSED: identity_provider_unavailable/)
  assert.match(down.stdout, /^Result if it were verified/m)
})

test('trust explain reads standard input, and refuses what is no identity token without quoting it', async (t) => {
  const world = await setUp(t)
  const jwt = world.issuer.sign(githubClaims())
  const root = join(import.meta.dirname, '../..')
  const child = spawn(process.execPath, ['src/cli/main.ts', 'trust', 'explain', '--token-file', '-'], {
    cwd: root,
    env: { PATH: process.env['PATH'], ...world.env },
  })
  child.stdin.end(`Bearer ${jwt}`)
  let output = ''
  for await (const chunk of child.stdout) output += chunk
  assert.match(output, /^The token is verified/)

  for (const [text, reason] of [
    ['fkb_0123456789', /no identity token but a bootstrap token/],
    ['not-a-token-but-secret', /has no identity token: expected a JWT/],
    ['', /no identity token but nothing/],
    ['x'.repeat(70_000), /more than 64 KiB/],
  ] as const) {
    writeFileSync(join(world.dir, 'token.jwt'), text)
    const { code, stdout, stderr } = await world.cli([
      'explain',
      '--token-file',
      join(world.dir, 'token.jwt'),
    ])
    assert.deepEqual([code, stdout], [1, ''])
    assert.match(stderr, reason)
    assert.ok(text === '' || !stderr.includes(text))
  }
  const neither = await world.cli(['explain'])
  assert.equal(neither.code, 1)
  assert.match(neither.stderr, /specify either a request id, or --token-file/)
})

test('trust explain explains a refused request by its audit entry', async (t) => {
  const { issuer, env, cli } = await setUp(t)
  const store = await openStore({ kind: 'sqlite', path: env.STORE.replace('sqlite:', '') })
  const entry = (
    n: number,
    detail: string,
    identity: Actor['identity'],
    requestId: string | null = `req_${n}`,
  ) => ({
    ...{
      at: n,
      action: 'request.refused' as const,
      detail,
      tokenId: null,
      registrationId: null,
      apiKeyId: null,
    },
    actor: { kind: 'identity' as const, id: null, requestId, clientAddress: null, identity },
  })
  const claims = { repository_id: '42', environment: 'dev', event_name: 'push', repository_owner_id: '1' }
  await store.appendAudit([
    entry(1, 'identity_not_allowed', { issuer: issuer.url, rule: null, claims }),
    entry(2, 'issuer_not_trusted', { issuer: 'https://evil.example', rule: null, claims: {} }),
    entry(3, 'token_replayed', { issuer: issuer.url, rule: 'acme-ci', claims: { repository_id: '42' } }),
    entry(4, 'token_expired', null),
    entry(6, 'identity_not_allowed', { issuer: 'https://gone.example', rule: null, claims: { sub: 'x' } }),
    entry(7, 'token_replayed', { issuer: issuer.url, rule: 'old', claims: { sub: 'x' } }),
    entry(5, 'identity_not_allowed: 7 more in 60 s', { issuer: issuer.url, rule: null, claims }, null),
  ])
  await store.close()

  const first = await cli(['explain', 'req_1'])
  assert.equal(first.code, 0, first.stderr)
  assert.match(first.stdout, /^Refused at 1970-.*: identity_not_allowed\. This identity may not register\.$/m)
  assert.match(first.stdout, /NO +match +environment +"prod" +"dev"/)
  assert.match(first.stdout, /NO +match +repository_owner_id +"2020" +"1"/)
  const json = JSON.parse((await cli(['explain', 'req_1', '--json'])).stdout)
  assert.deepEqual(
    [json.request_id, json.refusal.code, json.verified],
    ['req_1', 'identity_not_allowed', true],
  )
  assert.equal(json.rules.length, 2)

  const second = (await cli(['explain', 'req_2'])).stdout
  assert.match(second, /The token named the issuer https:\/\/evil\.example\. It was not verified/)
  assert.match(second, RegExp(`Issuers of the trust file: ${issuer.url}$`, 'm'))
  assert.match(
    (await cli(['explain', 'req_3'])).stdout,
    /The rule acme-ci matched, for the identity repository_id="42"/,
  )
  assert.match((await cli(['explain', 'req_4'])).stdout, /no identity token/)
  assert.match(
    (await cli(['explain', 'req_6'])).stdout,
    /The issuer https:\/\/gone\.example is not in the trust file any more\. Its token had sub="x"\./,
  )
  assert.match((await cli(['explain', 'req_7'])).stdout, /The trust file does not have this rule any more\./)

  const missing = await cli(['explain', 'req_none'])
  assert.equal(missing.code, 1)
  assert.match(missing.stderr, /there is no refusal of req_none in the audit trail\. Repeats/)
  assert.match(missing.stderr, /^1970-\S+ +req_3 +token_replayed +http/m)
  assert.match(missing.stderr, /^1970-\S+ +req_1 +identity_not_allowed .*repository_id="42"/m)
})

test('trust explain puts claims with short names into their places', async (t) => {
  const dir = tempDir(t)
  const issuer = await startIssuer(t, { alg: 'RS256', audience: AUDIENCE })
  const file = join(dir, 'trust.yaml')
  writeFileSync(
    file,
    `issuers: { prod: { kind: aws, issuer: "${issuer.url}" } }
rules:
  - { id: account, issuer: prod, match: { aws_account: "999999999999", principal_tags.team: ml }, grant: { key_ttl: 1h } }
`,
  )
  const env = { TRUST_FILE: file, PUBLIC_URL: AUDIENCE, STORE: `sqlite:${join(dir, 'x.db')}` }
  writeFileSync(join(dir, 'token.jwt'), issuer.sign(awsClaims()))
  const byToken = await runCli(t, ['trust', 'explain', '--token-file', join(dir, 'token.jwt')], env)
  assert.match(byToken.stdout, /NO +match +aws_account +"9{12}" +"123456789012"/)
  assert.match(byToken.stdout, /NO +match +principal_tags\.team +"ml" +"data-engineering"/)
  assert.doesNotMatch(
    byToken.stdout,
    /job-2024-001/,
    'the words of the caller are no claims that rules look at',
  )

  const store = await openStore({ kind: 'sqlite', path: join(dir, 'x.db') })
  const shown = { aws_account: '123456789012', 'principal_tags.team': 'ml', sub: 'arn:aws:iam::1:role/x' }
  const actor = { kind: 'identity' as const, id: null, requestId: 'req_1', clientAddress: null }
  await store.appendAudit([
    {
      ...{ at: 1, action: 'request.refused', detail: 'identity_not_allowed', tokenId: null },
      ...{ registrationId: null, apiKeyId: null },
      actor: { ...actor, identity: { issuer: issuer.url, rule: null, claims: shown } },
    },
  ])
  await store.close()
  const byRequest = await runCli(t, ['trust', 'explain', 'req_1'], env)
  assert.match(byRequest.stdout, /NO +match +aws_account +"9{12}" +"123456789012"/)
  assert.match(byRequest.stdout, /yes +match +principal_tags\.team +"ml" +"ml"/)
})
