import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { auth, extractWWWAuthenticateParams } from '@modelcontextprotocol/sdk/client/auth.js'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { type Behind, type Hops, startLoginBehind } from '../support/behind-gateway.ts'
import {
  codeForm,
  decide,
  exchange,
  type LoginService,
  logIn,
  REDIRECT_URI,
  startProgram,
  trustOf,
} from '../support/identity/login.ts'
import { createMcpHost } from '../support/mcp-host.ts'
import { dataPlane } from '../support/service.ts'

const FRONTS: readonly Hops[] = [
  ['rest-api', 'alb'],
  ['http-api', 'alb'],
]

const start = (t: TestContext, hops: Hops) =>
  startLoginBehind(t, hops, { trust: (issuer) => trustOf(issuer, {}, { on_repeat: 'add', max_live: 9 }) })

/** Logs in, as a person does in a browser. @returns the address that the browser is sent to */
async function visited(authorizationUrl: string): Promise<URL> {
  const { browser, page } = await logIn(authorizationUrl)
  return new URL(`${REDIRECT_URI}?${new URLSearchParams(await decide(browser, page))}`)
}

/** Asserts that an access token registers, and that the key works. */
async function assertRegisters(service: Behind<LoginService>, accessToken: string): Promise<void> {
  const answer = await service.register(accessToken, { name: 'agent' }, { prefer: 'wait=5' })
  const body = await answer.text()
  assert.equal(answer.status, 201, body)
  assert.equal(await dataPlane(service, JSON.parse(body).api_key_value), 200)
}

for (const hops of FRONTS) {
  test(`behind ${hops.join(' and ')} a program logs in, whatever its state holds`, async (t) => {
    const service = await start(t, hops)
    for (const state of ['the state', 'a+b=c&d%20e/f?g;h#i', '"{|}"']) {
      const { url, verifier } = startProgram(service.publicUrl, { state })
      const { browser, page } = await logIn(url)
      const { code = '', ...rest } = await decide(browser, page)
      assert.deepEqual(rest, { state, iss: service.url })
      const answer = await exchange(service.publicUrl, codeForm(code, verifier))
      const { access_token } = (await answer.json()) as { access_token: string }
      await assertRegisters(service, access_token)
    }
  })

  test(`behind ${hops.join(' and ')} an unmodified MCP SDK finds the login from a 401`, async (t) => {
    const service = await start(t, hops)
    const serverUrl = `${service.url}/register`
    const refused = await fetch(serverUrl, { method: 'POST' })
    const { resourceMetadataUrl: challenged } = extractWWWAuthenticateParams(refused)
    assert.equal(challenged === undefined, hops[0] === 'rest-api', 'a REST API renames WWW-Authenticate')
    const { resource_metadata } = (await refused.json()) as { resource_metadata: string }
    const resourceMetadataUrl = challenged ?? new URL(resource_metadata)
    const { left, provider } = createMcpHost('firstkey', REDIRECT_URI)
    assert.equal(await auth(provider, { serverUrl, resourceMetadataUrl }), 'REDIRECT')
    const address = left.authorizationUrl?.href ?? ''
    assert.ok(address.startsWith(`${service.url}/connect/authorize?`), address)
    const code = (await visited(address)).searchParams.get('code') ?? ''
    const request = { serverUrl, resourceMetadataUrl, authorizationCode: code }
    assert.equal(await auth(provider, request), 'AUTHORIZED')
    await assertRegisters(service, left.accessToken)
  })

  test(`behind ${hops.join(' and ')} openid-client discovers the service at its stage`, async (t) => {
    const service = await start(t, hops)
    const insecure = { execute: [openid.allowInsecureRequests] }
    const here = new URL(service.url)
    const config = await openid.discovery(here, 'firstkey', undefined, openid.None(), insecure)
    const pkceCodeVerifier = openid.randomPKCECodeVerifier()
    const expectedState = openid.randomState()
    const authorization = openid.buildAuthorizationUrl(config, {
      redirect_uri: REDIRECT_URI,
      state: expectedState,
      code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: 'S256',
    })
    const back = await visited(authorization.href)
    const token = await openid.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState })
    const registered = await openid.dynamicClientRegistration(
      here,
      { client_name: 'agent', redirect_uris: [REDIRECT_URI] },
      openid.None(),
      { ...insecure, initialAccessToken: token.access_token },
    )
    assert.equal(await dataPlane(service, String(registered.clientMetadata().client_secret)), 200)
  })

  test(`behind ${hops.join(' and ')} oauth4webapi follows the metadata from the resource`, async (t) => {
    const service = await start(t, hops)
    const insecure = { [oauth.allowInsecureRequests]: true } as const
    const resource = new URL(service.url)
    const refused = await fetch(`${service.url}/register`, { method: 'POST' })
    const { resource_metadata } = (await refused.json()) as { resource_metadata: string }
    const { authorization_servers: [issuer = ''] = [] } = await oauth.processResourceDiscoveryResponse(
      resource,
      await fetch(resource_metadata),
    )
    const here = new URL(issuer)
    const server = await oauth.processDiscoveryResponse(
      here,
      await oauth.discoveryRequest(here, { ...insecure, algorithm: 'oidc' }),
    )
    assert.equal(server.token_endpoint, `${service.url}/connect/token`)
    const keys = (await (await fetch(server.jwks_uri ?? '')).json()) as { keys: unknown[] }
    assert.deepEqual(keys, { keys: [] }, 'nothing is signed')
  })
}
