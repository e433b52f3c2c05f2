import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import getPort from 'get-port'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { startIssuer } from '../support/identity/issuer.ts'
import { decide, logIn, REDIRECT_URI, startLoginService } from '../support/identity/login.ts'
import { dataPlane, startService, tempDir } from '../support/service.ts'

/** Logs in, as a person does in a browser. @returns the address that the browser is sent to */
async function visited(authorizationUrl: string): Promise<URL> {
  const { browser, page } = await logIn(authorizationUrl)
  return new URL(`${REDIRECT_URI}?${new URLSearchParams(await decide(browser, page))}`)
}

test('openid-client discovers the service, logs somebody in, and registers as a client', async (t) => {
  const service = await startLoginService(t)
  const insecure = { algorithm: 'oauth2' as const, execute: [openid.allowInsecureRequests] }
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
  assert.equal(token.expires_in, 600)
  const registered = await openid.dynamicClientRegistration(
    here,
    { client_name: 'agent', redirect_uris: [REDIRECT_URI] },
    openid.None(),
    { ...insecure, initialAccessToken: token.access_token },
  )
  assert.equal(await dataPlane(service, String(registered.clientMetadata().client_secret)), 200)
})

test('oauth4webapi starts at the protected resource, logs somebody in, and its token registers at /register', async (t) => {
  const service = await startLoginService(t)
  const insecure = { [oauth.allowInsecureRequests]: true } as const
  const resource = new URL(service.url)
  const { authorization_servers: [issuer] = [] } = await oauth.processResourceDiscoveryResponse(
    resource,
    await oauth.resourceDiscoveryRequest(resource, insecure),
  )
  assert.ok(issuer)
  const server = await discovered(issuer)
  const client: oauth.Client = { client_id: 'firstkey' }
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const authorization = new URL(server.authorization_endpoint ?? '')
  const parameters = {
    ...{ response_type: 'code', client_id: client.client_id, redirect_uri: REDIRECT_URI, state },
    ...{
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    },
  }
  authorization.search = new URLSearchParams(parameters).toString()
  const back = await visited(authorization.href)
  const callback = oauth.validateAuthResponse(server, client, back, state)
  const answer = await oauth.authorizationCodeGrantRequest(
    ...([server, client, oauth.None(), callback, REDIRECT_URI, verifier, insecure] as const),
  )
  const token = await oauth.processAuthorizationCodeResponse(server, client, answer)
  const registration = await service.register(token.access_token, { name: 'agent' })
  assert.equal(registration.status, 201)
  const { api_key_value } = (await registration.json()) as { api_key_value: string }
  assert.equal(await dataPlane(service, api_key_value), 200)
})

test('oauth4webapi exchanges an identity token (RFC 7523) and registers as a client', async (t) => {
  const port = await getPort({ host: '127.0.0.1' })
  const url = `http://127.0.0.1:${port}`
  const issuer = await startIssuer(t, { audience: url })
  const trustFile = join(tempDir(t), 'trust.yaml')
  writeFileSync(
    trustFile,
    JSON.stringify({
      issuers: { ci: { kind: 'oidc', issuer: issuer.url, algorithms: ['ES256'] } },
      rules: [{ id: 'ci', issuer: 'ci', match: { sub: 'caller' }, grant: { key_ttl: '1h' } }],
    }),
  )
  const service = await startService(t, {
    env: { PORT: String(port), PUBLIC_URL: url, TRUST_FILE: trustFile },
  })
  const insecure = { [oauth.allowInsecureRequests]: true } as const
  const server = await discovered(url)
  const client: oauth.Client = { client_id: 'firstkey' }
  const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
  assert.ok(server.grant_types_supported?.includes(jwtBearer))
  const answer = await oauth.genericTokenEndpointRequest(
    ...([server, client, oauth.None(), jwtBearer, { assertion: issuer.sign() }, insecure] as const),
  )
  const token = await oauth.processGenericTokenEndpointResponse(server, client, answer)
  const registered = await oauth.processDynamicClientRegistrationResponse(
    await oauth.dynamicClientRegistrationRequest(
      server,
      { client_name: `agent-${randomUUID()}`, redirect_uris: [REDIRECT_URI] },
      { ...insecure, initialAccessToken: token.access_token },
    ),
  )
  assert.equal(await dataPlane(service, String(registered['client_secret'])), 200)
})

async function discovered(issuer: string): Promise<oauth.AuthorizationServer> {
  const here = new URL(issuer)
  const options = { algorithm: 'oauth2', [oauth.allowInsecureRequests]: true } as const
  return oauth.processDiscoveryResponse(here, await oauth.discoveryRequest(here, options))
}
