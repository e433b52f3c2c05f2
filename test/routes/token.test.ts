import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { z } from 'zod'
import { SERVICE } from '../../src/store/audit.ts'
import { startIssuer } from '../support/identity/issuer.ts'
import { exchange, type LoginServiceOptions, startLoginService, trustOf } from '../support/identity/login.ts'
import { type Service, startService } from '../support/service.ts'

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const FORM = 'application/x-www-form-urlencoded'

const errorSchema = z.looseObject({
  error: z.string(),
  error_description: z.string().regex(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/),
  code: z.string(),
  next_step: z.string(),
  error_uri: z.string(),
  instance: z.string(),
})

/** Reads an error of the token endpoint: `status error code`. */
async function errorOf(answer: Response): Promise<string> {
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const { error, code } = errorSchema.parse(await answer.json())
  const retries = answer.headers.get('retry-after') === null ? '' : ' retry'
  return `${answer.status} ${error} ${code}${retries}`
}

/** Starts a service that trusts the provider for logins, and an issuer of identity tokens that are accepted once. */
async function start(t: TestContext, options: LoginServiceOptions = {}) {
  const issuer = await startIssuer(t)
  const service = await startLoginService(t, {
    ...options,
    trust: (url) => {
      const { issuers, rules } = trustOf(url)
      const ci = { kind: 'oidc', issuer: issuer.url, single_use: true, algorithms: ['ES256'] }
      const rule = {
        id: 'ci',
        issuer: 'ci',
        match: { team: 'dev' },
        grant: { key_ttl: '1h', max_live: 3, rate: 1_000 },
      }
      return { issuers: { ...issuers, ci }, rules: [...rules, rule] }
    },
  })
  const assertion = (claims = {}, options = {}) =>
    issuer.sign({ aud: service.publicUrl, team: 'dev', ...claims }, options)
  return { service, issuer, assertion }
}

const audit = ({ deps }: Service) => deps.store.listAudit({ limit: 1_000 })

test('an identity token is exchanged for a token that registers once (RFC 7523)', async (t) => {
  const { service, assertion } = await start(t)
  const answer = await exchange(service.publicUrl, { grant_type: JWT_BEARER, assertion: assertion() })
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8')
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.equal(answer.headers.get('pragma'), 'no-cache')
  const { access_token, ...rest } = z
    .looseObject({ access_token: z.string().regex(/^fkb_\w{38}$/) })
    .parse(await answer.json())
  assert.deepEqual(rest, { token_type: 'Bearer', expires_in: 600 })
  const client = await fetch(`${service.publicUrl}/connect/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${access_token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: 'acme-agent' }),
  })
  assert.equal(client.status, 201)
  assert.ok((await service.register(access_token)).status >= 400)
  assert.equal(service.gateway.account.keys.size, 1)
})

test('every fault of a request has its error of RFC 6749, and makes nothing', async (t) => {
  const { service, assertion } = await start(t)
  const jwt = assertion()
  const valid = { grant_type: JWT_BEARER, assertion: jwt }
  const code = {
    grant_type: 'authorization_code',
    client_id: 'firstkey',
    code: 'x',
    redirect_uri: 'x',
    code_verifier: 'x',
  }
  const without = (name: string) => ({ ...code, [name]: '' })
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })
  const invalid = '400 invalid_request invalid_request'
  const cases: [expected: string, form: Record<string, string> | string, headers?: Record<string, string>][] =
    [
      [invalid, ''],
      [invalid, {}],
      [invalid, { grant_type: '' }],
      [invalid, { grant_type: JWT_BEARER }],
      [invalid, { grant_type: JWT_BEARER, assertion: '' }],
      [invalid, `grant_type=${JWT_BEARER}&grant_type=${JWT_BEARER}&assertion=${jwt}`],
      [invalid, `grant_type=${JWT_BEARER}&assertion=${jwt}&unknown=1&unknown=2`],
      [invalid, `grant_type=${JWT_BEARER}&assertion=${jwt}&assertion=`],
      [invalid, `grant_type=${JWT_BEARER}&assertion=%zz`],
      [invalid, `grant_type=${JWT_BEARER}&assertion=%ff`],
      [invalid, without('code')],
      [invalid, without('redirect_uri')],
      [invalid, without('code_verifier')],
      [invalid, without('client_id')],
      ['400 unsupported_grant_type unsupported_grant_type', { ...valid, grant_type: 'client_credentials' }],
      ['400 unsupported_grant_type unsupported_grant_type', { ...valid, grant_type: 'refresh_token' }],
      [
        '400 unsupported_grant_type unsupported_grant_type',
        { grant_type: 'password', username: 'a', password: 'b' },
      ],
      ['400 unsupported_grant_type unsupported_grant_type', { ...code, grant_type: 'Authorization_Code' }],
      ['400 unsupported_grant_type unsupported_grant_type', { ...code, grant_type: '__proto__' }],
      ['401 invalid_client invalid_client', { ...valid, client_id: 'other' }],
      ['401 invalid_client invalid_client', { ...valid, client_id: 'firstkey', client_secret: 'x' }],
      ['401 invalid_client invalid_client', { ...valid, client_assertion: jwt }],
      ['401 invalid_client invalid_client', valid, basic('firstkey:secret')],
      ['401 invalid_client invalid_client', valid, basic('other:')],
      ['401 invalid_client invalid_client', valid, { authorization: `Bearer ${jwt}` }],
      ['401 invalid_client invalid_client', valid, { authorization: 'Basic' }],
      ['401 invalid_client invalid_client', { ...valid, client_id: 'other' }, basic('firstkey:')],
      ['400 invalid_grant invalid_grant', code],
      ['400 invalid_grant invalid_token', { ...valid, assertion: 'x' }],
      ['400 invalid_grant invalid_token', { ...valid, assertion: 'a.b.c' }],
      ['400 invalid_grant invalid_token', { ...valid, assertion: `${jwt}x` }],
      ['413 invalid_request payload_too_large', { ...valid, padding: 'x'.repeat(17_000) }],
      [
        '415 invalid_request unsupported_media_type',
        JSON.stringify(valid),
        { 'content-type': 'application/json' },
      ],
      [
        '415 invalid_request unsupported_media_type',
        'x',
        { 'content-type': 'multipart/form-data; boundary=x' },
      ],
      [
        '415 invalid_request unsupported_media_type',
        'x=1',
        { 'content-type': `${FORM}; charset=iso-8859-1` },
      ],
      ['415 invalid_request unsupported_media_type', 'x=1', { 'content-encoding': 'gzip' }],
    ]
  for (const [expected, form, headers] of cases) {
    const answer = await exchange(service.publicUrl, form, headers)
    const what = `${JSON.stringify(form).slice(0, 200)} ${JSON.stringify(headers)}`
    if (answer.status === 401) assert.equal(answer.headers.get('www-authenticate'), 'Basic realm="firstkey"')
    if (answer.status === 415) assert.equal(answer.headers.get('accept'), FORM)
    assert.equal(await errorOf(answer), expected, what)
  }
  assert.equal(service.gateway.account.keys.size, 0)
  assert.ok(!service.logLines.some((line) => line.includes(jwt)), 'no token is logged')
  for (const [form, headers] of [
    [{ ...valid, assertion: assertion() }],
    [{ ...valid, assertion: assertion(), client_id: 'firstkey', client_secret: '' }],
    [{ ...valid, assertion: assertion(), scope: 'a', resource: 'b', unknown: '' }],
    [{ ...valid, assertion: assertion() }, basic('firstkey:')],
    [{ ...valid, assertion: assertion() }, { 'content-type': `${FORM};charset="UTF-8"` }],
  ] satisfies [Record<string, string>, Record<string, string>?][])
    assert.equal((await exchange(service.publicUrl, form, headers)).status, 200, JSON.stringify(headers))
})

test('a refused identity token is an invalid grant with the code of its fault, and one audit entry', async (t) => {
  const { service, assertion } = await start(t)
  const now = Math.floor(Date.now() / 1_000)
  const other = await startIssuer(t)
  const cases: [expected: string, jwt: string][] = [
    ['issuer_not_trusted', other.sign({ aud: service.publicUrl, team: 'dev' })],
    ['audience_mismatch', assertion({ aud: 'https://other.example.com' })],
    ['token_expired', assertion({ iat: now - 600, exp: now - 300 })],
    ['invalid_token', assertion({}, { alg: 'none' })],
    ['identity_not_allowed', assertion({ team: 'Dev' })],
  ]
  for (const [code, jwt] of cases) {
    const before = (await audit(service)).length
    const answer = await exchange(service.publicUrl, { grant_type: JWT_BEARER, assertion: jwt })
    assert.equal(await errorOf(answer), `400 invalid_grant ${code}`)
    const entries = await audit(service)
    const [entry] = entries
    assert.deepEqual([entries.length - before, entry?.action, entry?.detail], [1, 'request.refused', code])
    assert.ok(!JSON.stringify(entry).includes(jwt.slice(-20)), code)
  }
  const jwt = assertion()
  const twice = await Promise.all(
    [1, 2, 3, 4].map(() => exchange(service.publicUrl, { grant_type: JWT_BEARER, assertion: jwt })),
  )
  assert.deepEqual(twice.map(({ status }) => status).sort(), [200, 400, 400, 400])
  for (const answer of twice.filter(({ status }) => status === 400))
    assert.equal(await errorOf(answer), '400 invalid_grant token_replayed')
})

test('while an issuer is down, its callers are told when to come back', async (t) => {
  const { service, issuer, assertion } = await start(t)
  issuer.behaviour = 'down'
  const answer = await exchange(service.publicUrl, { grant_type: JWT_BEARER, assertion: assertion() })
  assert.equal(await errorOf(answer), '503 temporarily_unavailable identity_provider_unavailable retry')
})

test('an identity that an operator stopped gets no token, nor one above its rate', async (t) => {
  const issuer = await startIssuer(t)
  const service = await startLoginService(t, {
    trust: () => ({
      issuers: { ci: { kind: 'oidc', issuer: issuer.url, algorithms: ['ES256'] } },
      rules: [{ id: 'ci', issuer: 'ci', match: { team: 'dev' }, grant: { key_ttl: '1h', rate: 2 } }],
    }),
  })
  const send = () =>
    exchange(service.publicUrl, {
      grant_type: JWT_BEARER,
      assertion: issuer.sign({ aud: service.publicUrl, team: 'dev' }),
    })
  const answers = [await send(), await send(), await send(), await send(), await send()]
  const limited = answers.find(({ status }) => status === 429)
  assert.ok(limited !== undefined && answers[0]?.status === 200)
  assert.equal(await errorOf(limited), '429 rate_limited rate_limited retry')
  const [virtual] = await service.deps.store.listTokens()
  await service.deps.store.revokeToken(virtual?.id ?? '', SERVICE, Date.now())
  assert.equal(await errorOf(await send()), '400 invalid_grant identity_not_allowed')
})

test('without a trust file there is no token endpoint, and no code without a login', async (t) => {
  const off = await startService(t)
  const form = { grant_type: JWT_BEARER, assertion: 'x' }
  assert.equal(await errorOf(await exchange(off.url, form)), '404 unsupported_grant_type not_found')
  for (const path of ['authorize?client_id=firstkey', 'callback?state=x', 'code?code=x'])
    assert.equal((await fetch(`${off.url}/connect/${path}`)).status, 404, path)

  const issuer = await startIssuer(t)
  const service = await startLoginService(t, {
    trust: () => ({
      issuers: { ci: { kind: 'oidc', issuer: issuer.url, algorithms: ['ES256'] } },
      rules: [{ id: 'ci', issuer: 'ci', match: { team: 'dev' }, grant: { key_ttl: '1h' } }],
    }),
  })
  const code = await exchange(service.publicUrl, { ...form, grant_type: 'authorization_code' })
  assert.equal(await errorOf(code), '400 unsupported_grant_type unsupported_grant_type')
  for (const path of ['authorize?client_id=firstkey', 'code?code=x'])
    assert.equal((await fetch(`${service.publicUrl}/connect/${path}`)).status, 404, path)
})

test('the requests of an address are limited', async (t) => {
  const { service } = await start(t, { env: { RATE_LIMIT_PER_IP: '2' } })
  const send = () => exchange(service.publicUrl, { grant_type: JWT_BEARER, assertion: 'x' })
  await send()
  await send()
  assert.equal(await errorOf(await send()), '429 rate_limited rate_limited retry')
})
