import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { openHttpBrowser } from '../http-browser.ts'
import { startProvider } from './provider.ts'

const REDIRECT_URI = 'http://127.0.0.1:1/connect/callback'

test('a client logs somebody in at the provider and gets the claims of the account', async (t) => {
  const provider = await startProvider({ redirectUris: [REDIRECT_URI] })
  t.after(() => provider.close())
  const { issuer, clientId, clientSecret } = provider
  const config = await client.discovery(new URL(issuer), clientId, clientSecret, undefined, {
    execute: [client.allowInsecureRequests],
  })
  const start = async () => {
    const pkceCodeVerifier = client.randomPKCECodeVerifier()
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: REDIRECT_URI,
      scope: 'openid',
      state: 's',
      code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: 'S256',
    })
    return { url: url.href, checks: { pkceCodeVerifier, expectedState: 's' } }
  }
  const isCallback = (url: string) => url.startsWith(REDIRECT_URI)
  const { url, checks } = await start()
  const browser = openHttpBrowser()
  const form = await browser.get(url)
  const wrong = await browser.submit(form, { login: 'alice', password: 'guess' })
  assert.match(wrong.body, /Wrong login or password/)
  const back = await browser.submit(wrong, { login: 'alice', password: 'correct horse' }, isCallback)
  const location = back.headers.get('location') ?? ''
  const tokens = await client.authorizationCodeGrant(config, new URL(location), checks)
  const { sub, email, groups } = decodeJwt(tokens.id_token ?? '')
  assert.deepEqual({ sub, email, groups }, { sub: 'alice-1', email: 'alice@example.com', groups: ['dev'] })

  const other = openHttpBrowser()
  const cancelled = await other.submit(await other.get((await start()).url), { cancel: 'yes' }, isCallback)
  assert.equal(new URL(cancelled.headers.get('location') ?? '').searchParams.get('error'), 'access_denied')
})
