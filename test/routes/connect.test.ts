import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { registerClient } from '@modelcontextprotocol/sdk/client/auth.js'
import * as oauth from 'oauth4webapi'
import { z } from 'zod'
import { createSecret } from '../../src/auth/token-format.ts'
import { suspend } from '../../src/registration/suspend.ts'
import {
  clientInformation,
  readClientExample,
  readClientInformation,
} from '../../src/routes/connect-schema.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { assertMetadata } from '../support/problem.ts'
import { dataPlane, registered, type Service, startService } from '../support/service.ts'

const errorSchema = z.object({
  error: z.string(),
  error_description: z.string(),
  code: z.string(),
  retryable: z.boolean(),
  next_step: z.string(),
  error_uri: z.string(),
  instance: z.string(),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  resource_metadata: z.string().optional(),
})

function post(
  { url }: Pick<Service, 'url'>,
  secret: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${url}/connect/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
}

const managed = (service: Pick<Service, 'url'>, uri: string, token: string, method = 'GET') =>
  fetch(service.url + new URL(uri).pathname, { method, headers: { authorization: `Bearer ${token}` } })

test('an unmodified oauth4webapi registers a client, and the API accepts its secret', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const server = { issuer: service.url, registration_endpoint: `${service.url}/connect/register` }
  const answer = await oauth.dynamicClientRegistrationRequest(
    server,
    { client_name: 'acme-agent', redirect_uris: ['https://client.example.com/cb'] },
    { initialAccessToken: secret, [oauth.allowInsecureRequests]: true },
  )
  const client = await oauth.processDynamicClientRegistrationResponse(answer)
  assert.equal(client['client_secret_expires_at'], 0)
  assert.deepEqual(client['redirect_uris'], ['https://client.example.com/cb'])
  assert.equal(await dataPlane(service, String(client['client_secret'])), 200)
})

test('an unmodified MCP SDK registers a client, and understands the error', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token({ maxUses: 1 })
  const register = () =>
    registerClient(service.url, {
      metadata: {
        issuer: service.url,
        authorization_endpoint: `${service.url}/none`,
        token_endpoint: `${service.url}/none`,
        response_types_supported: [],
        registration_endpoint: `${service.url}/connect/register`,
      },
      clientMetadata: { client_name: 'acme-agent', redirect_uris: [] },
      // The SDK leaves the initial access token to its caller.
      fetchFn: (url, init) => {
        const headers = new Headers(init?.headers)
        headers.set('authorization', `Bearer ${secret}`)
        return fetch(url, { ...init, headers })
      },
    })
  const client = await register()
  assert.equal(await dataPlane(service, client.client_secret ?? ''), 200)
  await assert.rejects(register(), /use of the token is spent/)
})

test('the OAuth response echoes the metadata, always has redirect_uris, and ignores unknown fields', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token({ plans: ['gold', 'free'], keyTtlMs: 3_600_000 })
  const metadata = { client_name: 'acme-agent', scope: 'a b', contacts: ['me@example.com'], plan: 'free' }
  const answer = await post(service, secret, { ...metadata, jwks_uri: 'https://x.example', 'name#fr': 'é' })
  assert.equal(answer.status, 201)
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.equal(answer.headers.get('pragma'), 'no-cache')
  const body = await answer.json()
  const client = clientInformation.strict().parse(body)
  assert.deepEqual(
    { client_name: client.client_name, scope: client.scope, contacts: client.contacts, plan: client.plan },
    metadata,
  )
  assert.deepEqual(client.redirect_uris, [])
  assert.ok(Math.abs(client.client_id_issued_at - Date.now() / 1_000) < 10)
  assert.equal(client.client_secret_expires_at - client.client_id_issued_at, 3_600)
  assert.equal(service.gateway.account.key(client.client_id).value, client.client_secret)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
})

test('a client is an ordinary registration: RFC 7592 reads and deletes it, and /register/{id} reads it', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const client = clientInformation.parse(await (await post(service, secret, { client_name: 'a' })).json())
  const { registration_client_uri: uri, registration_access_token: token, client_id } = client
  const read = await managed(service, uri, token)
  assert.equal(read.status, 200)
  const seen = readClientInformation.strict().parse(await read.json())
  assert.deepEqual(
    [seen.client_id, seen.client_name, seen.registration_access_token, seen.registration_client_uri],
    [client_id, 'a', token, uri],
  )
  assert.ok(!('client_secret' in seen))
  assert.equal((await managed(service, uri.replace('/connect', ''), token)).status, 200)

  assert.equal((await managed(service, uri, token, 'DELETE')).status, 204)
  assert.equal(service.gateway.account.keys.size, 0)
  for (const method of ['GET', 'DELETE']) {
    const gone = await managed(service, uri, token, method)
    assert.equal(gone.status, 401)
    assert.equal(errorSchema.parse(await gone.json()).error, 'invalid_token')
  }
})

test('a client is read with the metadata that it registered (RFC 7592), also after a rotation', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token({ plans: ['gold', 'free'] })
  const everything = {
    client_name: 'acme-agent',
    redirect_uris: ['https://client.example.com/cb', 'http://localhost:3334/oauth/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    scope: 'openid ünïcode',
    client_uri: 'https://client.example.com',
    logo_uri: 'https://client.example.com/logo.png',
    tos_uri: 'https://client.example.com/tos',
    policy_uri: 'https://client.example.com/policy',
    contacts: ['me@example.com'],
    software_id: '4NRB1-0XZABZI9E6-5SM3R',
    software_version: '1.0.0',
    plan: 'free',
  }
  const bodies = [everything, { client_name: 'a' }, { client_name: 'a', grant_types: [], scope: '' }]
  for (const metadata of bodies) {
    const made = clientInformation.parse(await (await post(service, secret, metadata)).json())
    const { client_secret: _secret, ...expected } = made
    const { registration_client_uri: uri, registration_access_token: token } = made
    assert.deepEqual(await (await managed(service, uri, token)).json(), expected)
    const rotated = await managed(service, `${uri.replace('/connect', '')}/rotate`, token, 'POST')
    const { api_key_id } = z.looseObject({ api_key_id: z.string() }).parse(await rotated.json())
    assert.deepEqual(await (await managed(service, uri, token)).json(), {
      ...expected,
      client_id: api_key_id,
    })
  }
  const plain = await registered(service)
  const uri = plain.management.url.replace('/register', '/connect/register')
  const read = readClientInformation.parse(await (await managed(service, uri, plain.management.token)).json())
  assert.deepEqual([read.client_name, read.redirect_uris], ['acme-agent', []])
})

test('a retry costs no use and returns the same client; a different request with the same key is rejected', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token({ maxUses: 1 })
  const key = { 'idempotency-key': randomUUID() }
  const first = await (await post(service, secret, { client_name: 'a', scope: 'x' }, key)).text()
  const again = await post(service, secret, { client_name: 'a', scope: 'x' }, key)
  assert.equal(again.headers.get('idempotency-replayed'), 'true')
  assert.equal(await again.text(), first)
  // The same texts and plan in other words.
  for (const same of [
    { client_name: 'a', scope: 'x', plan: '' },
    { client_name: 'a', scope: 'x', plan: null },
    { scope: 'x', client_name: 'a', redirect_uris: [], unknown: 1 },
  ])
    assert.equal(await (await post(service, secret, same, key)).text(), first, JSON.stringify(same))
  for (const other of [{ client_name: 'b' }, { client_name: 'a', scope: 'y' }]) {
    const refused = await post(service, secret, other, key)
    assert.equal(refused.status, 422)
    assert.equal(errorSchema.parse(await refused.json()).error, 'idempotency_mismatch')
  }
  const elsewhere = await service.register(secret, { name: 'a' }, key)
  assert.equal(elsewhere.status, 422)
  assert.equal(service.gateway.account.keys.size, 1)
})

test('a suspended client can be read and deleted, and a retry does not return its secret', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const headers = { 'idempotency-key': randomUUID() }
  const made = await post(service, secret, { client_name: 'acme-agent' }, headers)
  const client = clientInformation.parse(await made.json())
  const { registration_client_uri: uri, registration_access_token: token } = client
  await suspend(service.deps, new URL(uri).pathname.split('/').at(-1) ?? '', SERVICE)
  assert.equal((await managed(service, uri, token)).status, 200)
  const retry = await post(service, secret, { client_name: 'acme-agent' }, headers)
  assert.equal(retry.status, 403)
  const { error, code } = errorSchema.parse(await retry.json())
  assert.deepEqual([error, code], ['registration_suspended', 'registration_suspended'])
  assert.equal((await managed(service, uri, token, 'DELETE')).status, 204)
})

test('errors have the OAuth format, with the same codes as all other routes', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token({ namePrefix: 'acme-', maxUses: 1 })
  const cases: [body: unknown, status: number, error: string, code: string, token?: string][] = [
    [{}, 400, 'invalid_client_metadata', 'invalid_request'],
    [{ client_name: 7 }, 400, 'invalid_client_metadata', 'invalid_request'],
    [[], 400, 'invalid_client_metadata', 'invalid_request'],
    [{ client_name: 'acme-1', redirect_uris: 'x' }, 400, 'invalid_redirect_uri', 'invalid_request'],
    [{ client_name: 'other' }, 403, 'invalid_client_metadata', 'name_not_allowed'],
    [{ client_name: 'acme-1', plan: 'gold' }, 403, 'invalid_client_metadata', 'plan_not_allowed'],
    [{ client_name: 'acme-1' }, 401, 'invalid_token', 'invalid_token', createSecret('fkb_')],
    [{ client_name: 'acme-1' }, 401, 'invalid_token', 'invalid_token', 'nonsense'],
  ]
  for (const [body, status, error, code, token = secret] of cases) {
    const answer = await post(service, token, body)
    assert.equal(answer.status, status, JSON.stringify(body))
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
    const problem = errorSchema.strict().parse(await answer.json())
    assert.deepEqual([problem.error, problem.code], [error, code])
    assert.match(problem.error_description, /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
    if (status === 401) assert.match(answer.headers.get('www-authenticate') ?? '', /error="invalid_token"/)
    assertMetadata(answer, problem.resource_metadata)
  }
  const many = Object.fromEntries(Array.from({ length: 201 }, (_, i) => [`x-${i}`, '1']))
  const large = await post(service, secret, { client_name: 'acme-1' }, many)
  assert.equal(large.status, 431)
  assert.equal(errorSchema.parse(await large.json()).error, 'headers_too_large')
  const none = await fetch(`${service.url}/connect/register`, { method: 'POST' })
  assert.equal(none.status, 401)
  assert.doesNotMatch(none.headers.get('www-authenticate') ?? '', /error=/)
  const missing = errorSchema.parse(await none.json())
  assert.equal(missing.code, 'missing_token')
  assertMetadata(none, missing.resource_metadata)

  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'throttle', times: 9 })
  const throttled = await post(service, secret, { client_name: 'acme-1' })
  assert.equal(throttled.status, 503)
  assert.ok(throttled.headers.has('retry-after'))
  assert.equal(errorSchema.parse(await throttled.json()).error, 'upstream_throttled')
  const refusals = await service.deps.store.listAudit({ limit: 100 })
  assert.ok(
    refusals.some(({ detail }) => detail === 'name_not_allowed'),
    'rejected requests are in the audit trail',
  )
})

test('an error about the name is about client_name, and its description has other characters by code point', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token({ namePrefix: 'café-"🤖\\' })
  const answer = await post(service, secret, { client_name: 'x' })
  const problem = errorSchema.parse(await answer.json())
  assert.equal(problem.error_description, "The name must start with 'caf(U+00E9)-'(U+1F916)(U+005C)'.")
  assert.deepEqual(problem.errors, [{ path: '/client_name', message: 'must start with "café-"🤖\\"' }])
})

test('a management token for another client, or for none, gets a 401 as in RFC 7592; PUT is rejected', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const [one, two] = await Promise.all(
    ['a', 'b'].map(async (client_name) =>
      clientInformation.parse(await (await post(service, secret, { client_name })).json()),
    ),
  )
  assert.ok(one && two)
  for (const uri of [two.registration_client_uri, `${one.registration_client_uri}x`]) {
    const answer = await managed(service, uri, one.registration_access_token)
    assert.equal(answer.status, 401)
    assert.equal(errorSchema.parse(await answer.json()).error, 'invalid_token')
  }
  const put = await managed(service, one.registration_client_uri, one.registration_access_token, 'PUT')
  assert.equal(put.status, 405)
  assert.equal(put.headers.get('allow'), 'DELETE, GET, HEAD, OPTIONS')
})

test('a client whose name breaks a rule that is newer than the client can be read', () => {
  const client_name = `Z${'\u0301'.repeat(9)}`
  assert.equal(readClientInformation.parse({ ...readClientExample, client_name }).client_name, client_name)
})
