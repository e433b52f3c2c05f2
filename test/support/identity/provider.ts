import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { exportJWK, generateKeyPair } from 'jose'
import Provider from 'oidc-provider'

/** Somebody who can log in at the provider. */
export interface Account {
  readonly password: string
  /** The claims of the ID token; `sub` is the login name unless it is here. */
  readonly claims: Readonly<Record<string, unknown>>
}

/** The accounts that a provider has unless it is started with others. */
export const ACCOUNTS = {
  alice: {
    password: 'correct horse',
    claims: {
      sub: 'alice-1',
      name: 'Alice',
      email: 'alice@example.com',
      email_verified: true,
      groups: ['dev'],
    },
  },
  bob: {
    password: 'battery staple',
    claims: { sub: 'bob-2', name: 'Bob', email: 'bob@example.com', email_verified: true, groups: ['guests'] },
  },
} as const satisfies Record<string, Account>

export interface ProviderOptions {
  readonly accounts?: Readonly<Record<string, Account>>
  /** The exact redirect URIs of the client. More may be added to {@link RunningProvider.redirectUris}. */
  readonly redirectUris?: readonly string[]
  readonly clientId?: string
  readonly clientSecret?: string
  readonly port?: number
}

/** An identity provider as an operator has one: oidc-provider with a login form, and one client, `firstkey`. */
export interface RunningProvider {
  /** The issuer, which is also the base of all its URLs. */
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string
  readonly redirectUris: string[]
  /** The method and the path of each request so far, in order. */
  readonly requests: string[]
  /** Handles a request instead of the provider if it returns `true`: for a provider that is down, slow or wrong. */
  intercept: ((request: IncomingMessage, response: ServerResponse) => boolean) | null
  close(): Promise<void>
}

const LOGIN = '/login/'

/** Starts a provider on 127.0.0.1. Its login form has the fields "Login" and "Password", and the buttons "Log in" and "Cancel". */
export async function startProvider(options: ProviderOptions = {}): Promise<RunningProvider> {
  const accounts: Readonly<Record<string, Account>> = options.accounts ?? ACCOUNTS
  const { clientId = 'firstkey', clientSecret = 'the-secret-of-the-client-firstkey', port = 0 } = options
  const redirectUris = [...(options.redirectUris ?? [])]
  const server = createServer().listen({ host: '127.0.0.1', port })
  await once(server, 'listening')
  const address = server.address()
  const issuer = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  const claimNames = Object.values(accounts).flatMap(({ claims }) => Object.keys(claims))
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: clientId,
        client_secret: clientSecret,
        // Those that are asked for are compared with `redirectUris` below.
        redirect_uris: ['https://keys.example.com/connect/callback'],
        grant_types: ['authorization_code'],
        response_types: ['code'],
      },
    ],
    findAccount: (_context: unknown, subject: string) => {
      const [, account] = Object.entries(accounts).find((entry) => subjectOf(entry) === subject) ?? []
      return account && { accountId: subject, claims: () => ({ ...account.claims, sub: subject }) }
    },
    claims: { openid: [...new Set(['sub', ...claimNames])] },
    scopes: ['openid', 'email', 'profile', 'groups'],
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_context: unknown, { uid }: { uid: string }) => `${LOGIN}${uid}` },
    cookies: { keys: ['a key for the cookies of a provider in tests'] },
    jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'first', alg: 'RS256', use: 'sig' }] },
    ttl: {
      Session: 600,
      Interaction: 600,
      Grant: 600,
      AccessToken: 600,
      AuthorizationCode: 60,
      IdToken: 600,
    },
    // The operator consents for all accounts.
    loadExistingGrant: async ({ oidc }: GrantContext) => {
      const grant = new provider.Grant({ accountId: oidc.session.accountId, clientId: oidc.client.clientId })
      grant.addOIDCScope(oidc.params.scope)
      await grant.save()
      return grant
    },
  })
  provider.Client.prototype.redirectUriAllowed = (uri) => redirectUris.includes(uri)

  const callback = provider.callback()
  const requests: string[] = []
  const running: RunningProvider = {
    ...{ issuer, clientId, clientSecret, redirectUris, requests },
    intercept: null,
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(request.url ?? '/', issuer)
    requests.push(`${request.method} ${pathname}`)
    if (running.intercept?.(request, response)) return
    if (!pathname.startsWith(LOGIN)) return void callback(request, response)
    logIn(provider, accounts, request, response).catch((error: Error) => {
      response.writeHead(400, { 'content-type': 'text/plain' }).end(error.message)
    })
  })
  return running
}

function subjectOf([login, { claims }]: [login: string, Account]): string {
  return String(claims['sub'] ?? login)
}

interface GrantContext {
  readonly oidc: {
    readonly session: { readonly accountId: string }
    readonly client: { readonly clientId: string }
    readonly params: { readonly scope: string }
  }
}

/** Shows the login form, and takes what it sends. */
async function logIn(
  provider: Provider,
  accounts: Readonly<Record<string, Account>>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { uid } = await provider.interactionDetails(request, response)
  const finish = (result: object) =>
    provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false })
  const form = new URLSearchParams(request.method === 'POST' ? await text(request) : '')
  if (form.get('cancel') === 'yes')
    return finish({ error: 'access_denied', error_description: 'The login was cancelled.' })
  const login = form.get('login') ?? ''
  const account = Object.hasOwn(accounts, login) ? accounts[login] : undefined
  if (account !== undefined && account.password === form.get('password'))
    return finish({ login: { accountId: subjectOf([login, account]) } })
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Log in</title><link rel="icon" href="data:,"></head><body><main><h1>Log in</h1>
<p role="status">${form.has('login') ? 'Wrong login or password' : ''}</p>
<form method="post" action="${LOGIN}${uid}">
<label>Login <input name="login"></label>
<label>Password <input name="password" type="password"></label>
<button>Log in</button>
<button name="cancel" value="yes">Cancel</button>
</form></main></body></html>`)
}
