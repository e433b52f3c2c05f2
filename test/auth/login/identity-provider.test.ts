import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { leadsInside } from '../../../src/auth/federation/key-addresses.ts'
import { createIdentityProviders, type LoginIssuer } from '../../../src/auth/login/identity-provider.ts'
import { ServiceError } from '../../../src/errors.ts'
import { type ProviderOptions, startProvider } from '../../support/identity/provider.ts'

const CALLBACK = 'http://127.0.0.1:1/connect/callback'
const progress = {
  ...{ id: 'i'.repeat(22), nonce: 'n', codeVerifier: 'v'.repeat(43) },
  request: { redirectUri: 'http://127.0.0.1:2/', state: undefined, codeChallenge: 'c'.repeat(43) },
}

async function start(t: TestContext, options: ProviderOptions = {}) {
  const provider = await startProvider({ redirectUris: [CALLBACK], ...options })
  t.after(() => provider.close())
  let time = 0
  const issuer: LoginIssuer = {
    ...{ name: 'staff', kind: 'oidc', url: provider.issuer, algorithms: ['RS256'], singleUse: false },
    keys: { jwksUri: null, jwksFile: null, caFile: null, bearerTokenFile: null },
    login: {
      ...{ label: 'Example', clientId: provider.clientId, clientSecret: provider.clientSecret },
      scopes: ['openid'],
    },
  }
  const providers = createIdentityProviders(CALLBACK, {}, () => time)
  const discoveries = () => provider.requests.filter((one) => one.includes('openid-configuration')).length
  return {
    provider,
    issuer,
    discoveries,
    loginUrl: () => providers.loginUrl(issuer, progress, { forcesLogin: false }),
    finish: (code: string) =>
      providers.finishLogin(
        issuer,
        progress,
        new URLSearchParams({ code, state: progress.id, iss: provider.issuer }),
      ),
    pass: (ms: number) => {
      time += ms
    },
  }
}

test('the metadata of a provider is read once in ten minutes, and kept while the provider is down', async (t) => {
  const { provider, discoveries, loginUrl, pass } = await start(t)
  const [one, two] = await Promise.all([loginUrl(), loginUrl()])
  assert.equal(one, two)
  assert.equal(new URL(one).searchParams.get('redirect_uri'), CALLBACK)
  pass(599_000)
  await loginUrl()
  assert.equal(discoveries(), 1)
  provider.intercept = (_request, response) => {
    response.destroy()
    return true
  }
  pass(1_001)
  assert.equal(await loginUrl(), one, 'what the provider said last still counts')
  assert.equal(discoveries(), 2)
  await loginUrl()
  assert.equal(discoveries(), 2)
  provider.intercept = null
  pass(5_001)
  await loginUrl()
  assert.equal(discoveries(), 3)
})

test('a provider that is down from the start is asked again after five seconds', async (t) => {
  const { provider, discoveries, loginUrl, pass } = await start(t)
  provider.intercept = (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Maintenance</h1>')
    return true
  }
  const isDown = (error: unknown) =>
    error instanceof ServiceError && error.code === 'identity_provider_unavailable'
  await assert.rejects(loginUrl(), isDown)
  await assert.rejects(loginUrl(), isDown)
  assert.equal(discoveries(), 1)
  provider.intercept = null
  pass(5_001)
  assert.match(await loginUrl(), /^http:/)
})

test('a provider that names itself otherwise is not used', async (t) => {
  const { provider, loginUrl } = await start(t)
  provider.intercept = (_request, response) => {
    const body = { issuer: `${provider.issuer}/other`, authorization_endpoint: 'https://evil.example.com/' }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
    return true
  }
  await assert.rejects(loginUrl())
})

test('the client secret is sent as the metadata of the provider asks: in a header, or else in the body', async (t) => {
  for (const [methods, expected] of [
    [undefined, 'header'],
    [['client_secret_post', 'client_secret_basic'], 'header'],
    [['client_secret_post'], 'body'],
  ] as const) {
    const { provider, finish } = await start(t)
    let sent = ''
    provider.intercept = (request, response) => {
      response.setHeader('content-type', 'application/json')
      if (request.method === 'GET') {
        const { issuer } = provider
        const endpoints = { authorization_endpoint: `${issuer}/auth`, token_endpoint: `${issuer}/token` }
        const metadata = { issuer, ...endpoints, token_endpoint_auth_methods_supported: methods }
        response.end(JSON.stringify(metadata))
        return true
      }
      let body = ''
      request.on('data', (chunk) => {
        body += chunk
      })
      request.once('end', () => {
        if (request.headers.authorization !== undefined) sent += 'header'
        if (body.includes('client_secret=')) sent += 'body'
        response.writeHead(400).end('{"error":"invalid_grant"}')
      })
      return true
    }
    await assert.rejects(finish('x'), /does not accept the code/)
    assert.equal(sent, expected)
  }
})

test('only an issuer of this machine leads to an address of this machine', () => {
  const [inside, outside] = ['http://127.0.0.1:1/token', 'https://login.example.com/token']
  assert.equal(leadsInside(inside, 'https://login.example.com'), true)
  for (const local of ['https://localhost/', 'https://[::1]/', 'https://127.9.9.9/'])
    assert.equal(leadsInside(local, 'https://login.example.com'), true, local)
  assert.equal(leadsInside(inside, 'http://127.0.0.1:1'), false)
  assert.equal(leadsInside(outside, 'https://login.example.com'), false)
  assert.equal(leadsInside(outside, 'http://127.0.0.1:1'), false)
})
