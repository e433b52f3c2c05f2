import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import {
  auth,
  exchangeAuthorization,
  registerClient,
  startAuthorization,
} from '@modelcontextprotocol/sdk/client/auth.js'
import getPort from 'get-port'
import { z } from 'zod'
import { createSecret } from '../../src/auth/token-format.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { decide, logIn, REDIRECT_URI, startLoginService } from '../support/identity/login.ts'
import { createMcpHost } from '../support/mcp-host.ts'
import { assertMetadata, readProblem } from '../support/problem.ts'
import { startService, tempDir } from '../support/service.ts'

const PUBLIC_URL = 'https://keys.example.com/base'
const REGISTRATION = `${PUBLIC_URL}/connect/register`

const start = (t: TestContext) => startService(t, { env: { PUBLIC_URL } })

const oauthError = z.looseObject({
  error: z.string(),
  error_description: z.string(),
  code: z.string(),
  next_step: z.string(),
  resource_metadata: z.string().optional(),
})

/** Client metadata as clients in the field send it. */
const clients: readonly object[] = [
  { client_name: 'a' },
  { redirect_uris: ['http://localhost:3334/oauth/callback'] },
  {
    client_name: 'MCP CLI Proxy',
    redirect_uris: ['http://localhost:3334/oauth/callback'],
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    client_uri: 'https://github.com/modelcontextprotocol/mcp-cli',
    software_id: '2e6dc280-f3c3-4e01-99a7-8181dbd1d23d',
    software_version: '1.0.0',
  },
  { software_statement: 'eyJ0eXAiOiJKV1QifQ' },
  { 'client_name#fr': 'é', scope: 'openid profile' },
  { 'client_name#en': 'x' },
  { name: 'a', client_name: 'a', grant_types: ['client_credentials'] },
  { name: 'a', redirect_uris: [] },
]

test('an OAuth client that registers at /register learns in its dialect where to register', async (t) => {
  const { url, token, deps, gateway } = await start(t)
  const { secret } = await token()
  const revoked = await token()
  await deps.store.revokeToken(revoked.token.id, SERVICE, Date.now())
  const cases: [authorization: string | undefined, status: number, error: string, fault: RegExp][] = [
    [undefined, 401, 'invalid_token', /^The request has no 'Authorization: Bearer/],
    ['Basic YTpi', 401, 'invalid_token', /^The request has no valid 'Authorization: Bearer/],
    [`Bearer ${createSecret('fkb_')}`, 401, 'invalid_token', /^The bootstrap token is/],
    [`Bearer ${revoked.secret}`, 401, 'invalid_token', /^The token was revoked/],
    [`Bearer ${secret}`, 400, 'invalid_client_metadata', /has unknown fields/],
  ]
  for (const [authorization, status, error, fault] of cases) {
    for (const client of clients) {
      const answer = await fetch(`${url}/register`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(authorization ? { authorization } : {}) },
        body: JSON.stringify(client),
      })
      const what = `${authorization} ${JSON.stringify(client)}`
      assert.equal(answer.status, status, what)
      assert.match(answer.headers.get('content-type') ?? '', /^application\/json/, what)
      const body = oauthError.parse(await answer.json())
      assert.equal(body.error, error, what)
      assert.ok(body.error_description.includes(REGISTRATION) && body.next_step.includes(REGISTRATION), what)
      assert.match(body.error_description, fault, what)
      assertMetadata(answer, body.resource_metadata)
    }
  }
  assert.equal(gateway.account.keys.size, 0)
})

test('all other requests to /register get problem documents, as before', async (t) => {
  const { url } = await start(t)
  const large = JSON.stringify({ client_name: 'x'.repeat(20_000) })
  const cases: [body: string, type: string][] = [
    ['{"name":"a"}', 'application/json'],
    ['{"name":"a","client_name":"a"}', 'application/json'],
    ['{"name":"a","scope#":"a"}', 'application/json'],
    ['["client_name"]', 'application/json'],
    ['{"client_name"', 'application/json'],
    ['null', 'application/json'],
    ['', 'application/json'],
    [large, 'application/json'],
    ['client_name=a', 'application/x-www-form-urlencoded'],
  ]
  for (const [body, type] of cases) {
    const answer = await fetch(`${url}/register`, { method: 'POST', headers: { 'content-type': type }, body })
    assert.equal((await readProblem(answer)).code, 'missing_token', body.slice(0, 40))
  }
  const chunked = await fetch(`${url}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: new Blob([large]).stream(),
    duplex: 'half',
  })
  assert.equal((await readProblem(chunked)).code, 'missing_token')
})

test('an unmodified MCP SDK without metadata reports where to register, and that there is no flow', async (t) => {
  const { url } = await start(t)
  const redirectUri = 'http://localhost:3334/oauth/callback'
  await assert.rejects(
    registerClient(url, { clientMetadata: { client_name: 'acme-agent', redirect_uris: [redirectUri] } }),
    (error: Error) => error.message.includes(REGISTRATION),
  )
  const clientInformation = { client_id: 'a' }
  await assert.rejects(
    exchangeAuthorization(url, {
      clientInformation,
      authorizationCode: 'a',
      codeVerifier: 'b',
      redirectUri,
    }),
    /There is no token endpoint/,
  )
  const { authorizationUrl } = await startAuthorization(url, { clientInformation, redirectUrl: redirectUri })
  const { code, detail, next_step } = await readProblem(await fetch(authorizationUrl))
  assert.equal(code, 'not_found')
  assert.match(detail, /There is no authorization endpoint/)
  assert.ok(next_step.includes(REGISTRATION))
})

const ISSUERS = {
  workloads: '{ kind: github }',
  login:
    '{ kind: oidc, issuer: https://login.example.com, login: { client_id: x, client_secret_env: OIDC_SECRET } }',
}
const PINS = { workloads: '{ repository_id: "42" }', login: '{ email: alice@example.com }' }

/** Starts a service at its own address that trusts an issuer of workloads, one at which people log in, or none. */
async function startTrusting(t: TestContext, kind: keyof typeof ISSUERS | null) {
  const PORT = String(await getPort())
  const url = `http://127.0.0.1:${PORT}`
  const TRUST_FILE = join(tempDir(t), 'trust.yaml')
  if (kind !== null)
    writeFileSync(
      TRUST_FILE,
      `issuers: { it: ${ISSUERS[kind]} }
rules: [{ id: all, issuer: it, match: ${PINS[kind]}, grant: { plans: [free], key_ttl: 24h } }]`,
    )
  const trust = kind === null ? {} : { TRUST_FILE, OIDC_SECRET: 'x'.repeat(32) }
  await startService(t, { env: { PORT, PUBLIC_URL: url, ...trust } })
  return url
}

test('an unmodified MCP SDK ends with the same next step whatever identities are accepted', async (t) => {
  const [plain, workloads, login] = await Promise.all([
    startTrusting(t, null),
    startTrusting(t, 'workloads'),
    startTrusting(t, 'login'),
  ])
  for (const url of [plain, workloads, login])
    for (const path of ['', '/register'])
      await assert.rejects(auth(createMcpHost().provider, { serverUrl: `${url}${path}` }), (error: Error) => {
        assert.match(error.message, /\/connect\/register .*bootstrap token as initial access token/, url)
        return true
      })
})

test('an unmodified MCP SDK logs in as the client firstkey, and its token registers', async (t) => {
  const service = await startLoginService(t)
  const { left, provider } = createMcpHost('firstkey', REDIRECT_URI)
  const serverUrl = `${service.publicUrl}/register`
  assert.equal(await auth(provider, { serverUrl }), 'REDIRECT')
  assert.equal(left.authorizationUrl?.searchParams.get('resource'), serverUrl)
  const { browser, page } = await logIn(left.authorizationUrl.href)
  const { code = '' } = await decide(browser, page)
  assert.equal(await auth(provider, { serverUrl, authorizationCode: code }), 'AUTHORIZED')
  assert.equal((await service.register(left.accessToken)).status, 201)
})

test('the endpoints that clients without metadata assume name the real ones, where there are any', async (t) => {
  const workloads = await startTrusting(t, 'workloads')
  const login = await startTrusting(t, 'login')
  const detailAt = async (url: string) => (await readProblem(await fetch(url))).detail
  const tokenError = async (url: string) => {
    const answer = await fetch(`${url}/token`, { method: 'POST', body: new URLSearchParams({ code: 'a' }) })
    return oauthError.parse(await answer.json())
  }
  assert.match(await detailAt(`${workloads}/authorize`), /There is no authorization endpoint/)
  assert.equal(
    await detailAt(`${login}/authorize?a=b`),
    `The authorization endpoint is ${login}/connect/authorize.`,
  )
  for (const url of [workloads, login]) {
    const { error, error_description, next_step } = await tokenError(url)
    assert.deepEqual(
      [error, error_description],
      ['unsupported_grant_type', `The token endpoint is ${url}/connect/token.`],
    )
    assert.match(next_step, /\/\.well-known\/oauth-authorization-server/)
  }
})

test('a body that does not arrive after a rejection ends the request, and is no fault', async (t) => {
  const service = await start(t)
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  socket.write(
    'POST /register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{',
  )
  assert.match(await text(socket), /^HTTP\/1\.1 408 [\s\S]*"code":"request_timeout"/)
  assert.ok(!service.logLines.some((line) => JSON.parse(line).level >= 40))
})

test('each well-known URL of the resource metadata names its resource (RFC 9728, section 3)', async (t) => {
  const { url } = await start(t)
  for (const path of ['', '/register', '/connect/register']) {
    for (const place of [path, `/base${path}`]) {
      const answer = await fetch(`${url}/.well-known/oauth-protected-resource${place}`)
      const { resource } = z.looseObject({ resource: z.string() }).parse(await answer.json())
      assert.equal(resource, PUBLIC_URL + path, place)
    }
  }
  for (const place of ['/elsewhere', '/base/elsewhere', '/basement', '/other/register']) {
    const answer = await fetch(`${url}/.well-known/oauth-protected-resource${place}`)
    assert.equal((await readProblem(answer)).code, 'not_found', place)
  }
  for (const absent of ['oauth-authorization-server', 'openid-configuration'])
    for (const path of ['', '/register'])
      assert.equal((await readProblem(await fetch(`${url}/.well-known/${absent}${path}`))).code, 'not_found')
})
