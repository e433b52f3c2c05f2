import { hash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { reservePort } from '../../../src/reserve-port.ts'
import { type HttpBrowser, openHttpBrowser, type Visit } from '../http-browser.ts'
import { type Service, type ServiceOptions, startService, tempDir } from '../service.ts'
import { ACCOUNTS, type ProviderOptions, type RunningProvider, startProvider } from './provider.ts'

/** The redirect URI of a program in tests. Nothing listens there: the tests read it from the redirect. */
export const REDIRECT_URI = 'http://127.0.0.1:5123/callback'

export interface LoginServiceOptions extends ServiceOptions {
  readonly provider?: ProviderOptions
  /** The text of the trust file; it is JSON of {@link trustOf} unless it is given. */
  readonly trust?: (issuer: string) => object
  /** The path of `PUBLIC_URL`. */
  readonly path?: string
}

/** A service at which people log in at a provider of its own. */
export interface LoginService extends Service {
  readonly provider: RunningProvider
  readonly publicUrl: string
  /** Replaces the trust file, and reads it. */
  trust(file: object): void
}

/** Returns a trust file with one provider, `staff`, whose verified accounts at example.com in the group get a key, each one. */
export function trustOf(issuer: string, rule: object = {}, grant: object = {}) {
  return {
    issuers: {
      staff: {
        ...{ kind: 'oidc', issuer, algorithms: ['RS256'] },
        login: {
          label: 'Example',
          client_id: 'firstkey',
          client_secret_env: 'OIDC_SECRET',
          scopes: ['openid', 'email'],
        },
      },
    },
    rules: [
      {
        ...{ id: 'people', issuer: 'staff', match: { team: 'dev' }, identity: ['sub'] },
        ...rule,
        grant: { plans: ['gold', 'free'], key_ttl: '24h', ...grant },
      },
    ],
  }
}

/** The accounts of the provider: the group of each is the claim `team`. */
export const LOGIN_ACCOUNTS = {
  alice: { ...ACCOUNTS.alice, claims: { ...ACCOUNTS.alice.claims, team: 'dev' } },
  bob: { ...ACCOUNTS.bob, claims: { ...ACCOUNTS.bob.claims, team: 'guests' } },
}

/** Starts a provider and a service that trusts it, at the address that its `PUBLIC_URL` says. */
export async function startLoginService(
  t: TestContext,
  { provider: providerOptions = {}, trust, path = '', env = {}, ...options }: LoginServiceOptions = {},
): Promise<LoginService> {
  const { port, release } = await reservePort('127.0.0.1')
  release()
  const publicUrl = `http://localhost:${port}${path}`
  const provider = await startProvider({
    ...{ accounts: LOGIN_ACCOUNTS, redirectUris: [`${publicUrl}/connect/callback`] },
    ...providerOptions,
  })
  t.after(() => provider.close())
  const file = join(tempDir(t), 'trust.json')
  writeFileSync(file, JSON.stringify(trust?.(provider.issuer) ?? trustOf(provider.issuer)))
  const service = await startService(t, {
    ...options,
    env: {
      PORT: String(port),
      PUBLIC_URL: publicUrl,
      TRUST_FILE: file,
      OIDC_SECRET: provider.clientSecret,
      ...env,
    },
  })
  return {
    ...service,
    // The cookies belong to the host of PUBLIC_URL.
    url: publicUrl,
    provider,
    publicUrl,
    trust(content) {
      writeFileSync(file, JSON.stringify(content))
      const { faults = [] } = service.deps.federation?.reload() ?? {}
      if (faults.length > 0) throw new Error(faults.join('\n'))
    },
  }
}

/** A program that logs somebody in: its verifier and the URL that it opens. */
export function startProgram(publicUrl: string, changes: Readonly<Record<string, string>> = {}) {
  const verifier = randomBytes(32).toString('base64url')
  const query = new URLSearchParams({
    ...{ response_type: 'code', client_id: 'firstkey', redirect_uri: REDIRECT_URI, state: 'the state' },
    ...{ code_challenge: hash('sha256', verifier, 'base64url'), code_challenge_method: 'S256' },
    ...changes,
  })
  return { verifier, url: `${publicUrl}/connect/authorize?${query}` }
}

const isProgram = (url: string) => url.startsWith(REDIRECT_URI)

/** Logs in at the provider, as far as the page that asks for the confirmation, or that says why there is none. */
export async function logIn(
  url: string,
  login: keyof typeof ACCOUNTS = 'alice',
  browser: HttpBrowser = openHttpBrowser(),
): Promise<{ browser: HttpBrowser; page: Visit }> {
  const form = await browser.get(url, isProgram)
  const { password } = ACCOUNTS[login]
  return { browser, page: await browser.submit(form, { login, password }, isProgram) }
}

/** Presses a button of the confirmation page. @returns the parameters that the program receives */
export async function decide(
  browser: HttpBrowser,
  page: Visit,
  decision: 'allow' | 'cancel' = 'allow',
): Promise<Record<string, string>> {
  const answer = await browser.submit(page, { decision }, (url) => !url.includes('/connect/confirm'))
  const location = answer.headers.get('location')
  if (location === null) throw new Error(`${answer.status}: ${answer.body}`)
  return Object.fromEntries(new URL(location).searchParams)
}

/** Sends a request to the token endpoint. */
export function exchange(
  publicUrl: string,
  form: Readonly<Record<string, string>> | string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return fetch(`${publicUrl}/connect/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    body: typeof form === 'string' ? form : new URLSearchParams(form).toString(),
  })
}

/** The form that exchanges a code of {@link startProgram}. */
export function codeForm(code: string, verifier: string, changes: Readonly<Record<string, string>> = {}) {
  return {
    ...{ grant_type: 'authorization_code', client_id: 'firstkey', code, redirect_uri: REDIRECT_URI },
    ...{ code_verifier: verifier, ...changes },
  }
}

/** Logs in and confirms. @returns what the program exchanges */
export async function obtainCode(
  service: Pick<LoginService, 'publicUrl'>,
  login: keyof typeof ACCOUNTS = 'alice',
) {
  const { url, verifier } = startProgram(service.publicUrl)
  const { browser, page } = await logIn(url, login)
  const { code = '' } = await decide(browser, page)
  return { code, verifier }
}
