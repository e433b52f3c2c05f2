import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import getPort from 'get-port'
import * as openid from 'openid-client'
import type { Browser } from 'playwright-core'
import { launchChromium } from '../support/chromium/launch.ts'
import { installKeycloak } from '../support/keycloak/install.ts'
import { clientCredentialsToken, type Keycloak, startKeycloak } from '../support/keycloak/server.ts'
import { readProblem } from '../support/problem.ts'
import { dataPlane, type Service, startService, tempDir } from '../support/service.ts'

const PERSON = { username: 'ada', password: 'the password of ada' }
const LOGIN_SECRET = 'the secret of the client firstkey'
const CI = { client_id: 'ci', client_secret: 'the secret of the client ci' }
const FULL_SCOPE = { ...CI, client_id: 'full-scope' }

let keycloak: Keycloak
let browser: Browser
let url: string
let issuer: string
let port: number

before(async () => {
  port = await getPort({ host: '127.0.0.1' })
  url = `http://127.0.0.1:${port}`
  keycloak = await startKeycloak(await installKeycloak())
  browser = await launchChromium()
  issuer = await keycloak.createRealm(realm('agents'))
})
after(async () => {
  await browser?.close()
  await keycloak?.stop()
})

/** A realm with a person, the client of the login, and two clients that are workloads. */
function realm(name: string) {
  const { username, password } = PERSON
  const profile = { email: 'ada@example.com', emailVerified: true, firstName: 'Ada', lastName: 'Lovelace' }
  const audience = {
    ...{ name: 'firstkey', protocol: 'openid-connect', protocolMapper: 'oidc-audience-mapper' },
    config: { 'included.custom.audience': url, 'access.token.claim': 'true' },
  }
  const workload = ({ client_id, client_secret }: typeof CI, fullScopeAllowed: boolean) => ({
    ...{ clientId: client_id, secret: client_secret, fullScopeAllowed, protocolMappers: [audience] },
    ...{ serviceAccountsEnabled: true, standardFlowEnabled: false },
  })
  return {
    realm: name,
    users: [{ username, enabled: true, ...profile, credentials: [{ type: 'password', value: password }] }],
    clients: [
      {
        ...{ clientId: 'firstkey', secret: LOGIN_SECRET, redirectUris: [`${url}/connect/callback`] },
        attributes: { 'pkce.code.challenge.method': 'S256' },
      },
      workload(CI, false),
      workload(FULL_SCOPE, true),
    ],
  }
}

/** Starts the service with rules for the person and for the workload. */
function start(t: TestContext): Promise<Service> {
  const login = { client_id: 'firstkey', client_secret_env: 'OIDC_SECRET' }
  const trustFile = join(tempDir(t), 'trust.yaml')
  const grant = { plans: ['gold'], key_ttl: '24h', max_live: 1 }
  writeFileSync(
    trustFile,
    JSON.stringify({
      issuers: { keycloak: { kind: 'oidc', issuer, algorithms: ['RS256'], single_use: true, login } },
      rules: [
        { id: 'ci', issuer: 'keycloak', match: { azp: CI.client_id }, identity: ['azp'], grant },
        {
          ...{ id: 'people', issuer: 'keycloak', grant },
          match: { email: 'ada@example.com', email_verified: true },
        },
      ],
    }),
  )
  return startService(t, {
    env: { PORT: String(port), PUBLIC_URL: url, TRUST_FILE: trustFile, OIDC_SECRET: LOGIN_SECRET },
  })
}

test('the access token that a client of Keycloak gets for itself registers once', async (t) => {
  const service = await start(t)
  const jwt = await clientCredentialsToken(issuer, CI)
  const key = { 'idempotency-key': randomUUID() }
  const answer = await service.register(jwt, { name: 'agent' }, key)
  assert.equal(answer.status, 201, await answer.clone().text())
  const { api_key_value } = (await answer.json()) as { api_key_value: string }
  assert.equal(await dataPlane(service, api_key_value), 200)
  const replayed = await service.register(jwt, { name: 'agent' }, { 'idempotency-key': randomUUID() })
  assert.equal((await readProblem(replayed)).code, 'token_replayed')
  const retry = await service.register(await clientCredentialsToken(issuer, CI), { name: 'agent' }, key)
  assert.equal(((await retry.json()) as { api_key_value: string }).api_key_value, api_key_value)

  // Its roles add the audience "account".
  const full = await service.register(
    await clientCredentialsToken(issuer, FULL_SCOPE),
    { name: 'agent' },
    key,
  )
  assert.equal((await readProblem(full)).code, 'audience_mismatch')
})

test('a program on the computer logs a person in through Keycloak’s form, and gets a working key', async (t) => {
  const service = await start(t)
  const program = await startProgram(t)
  const config = await openid.discovery(new URL(url), 'firstkey', undefined, openid.None(), {
    algorithm: 'oauth2',
    execute: [openid.allowInsecureRequests],
  })
  const pkceCodeVerifier = openid.randomPKCECodeVerifier()
  const expectedState = openid.randomState()
  const authorization = openid.buildAuthorizationUrl(config, {
    ...{ redirect_uri: program.redirectUri, state: expectedState, code_challenge_method: 'S256' },
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
  })

  const page = await browser.newPage()
  t.after(() => page.close())
  page.setDefaultTimeout(60_000)
  await page.goto(authorization.href)
  await page.locator('#username').fill(PERSON.username)
  await page.locator('#password').fill('a guess')
  await page.locator('#kc-login').click()
  await page.getByText('Invalid username or password.').first().waitFor()
  await page.locator('#password').fill(PERSON.password)
  await page.locator('#kc-login').click()
  await page.getByText('ada@example.com').first().waitFor()
  await page.getByRole('button', { name: 'Allow' }).click()
  await page.getByText('The program has the code.').waitFor()

  const token = await openid.authorizationCodeGrant(config, await program.visited, {
    ...{ pkceCodeVerifier, expectedState },
  })
  const answer = await service.register(token.access_token, { name: 'agent' })
  assert.equal(answer.status, 201, await answer.clone().text())
  const { api_key_value } = (await answer.json()) as { api_key_value: string }
  assert.equal(await dataPlane(service, api_key_value), 200)
})

/** Listens on the loopback interface for the browser, as a program does that logs somebody in. */
async function startProgram(t: TestContext): Promise<{ redirectUri: string; visited: Promise<URL> }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const redirectUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`
  const visited = new Promise<URL>((resolve) => {
    server.on('request', (request, response) => {
      response.end('The program has the code.')
      const address = new URL(request.url ?? '/', redirectUri)
      if (address.pathname === '/callback') resolve(address)
    })
  })
  return { redirectUri, visited }
}
