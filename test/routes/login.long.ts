import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import { z } from 'zod'
import { SERVICE } from '../../src/store/audit.ts'
import { formOf, type HttpBrowser, openHttpBrowser } from '../support/http-browser.ts'
import { createSigningKey, startIssuer } from '../support/identity/issuer.ts'
import {
  codeForm,
  decide,
  exchange,
  LOGIN_ACCOUNTS,
  logIn,
  obtainCode,
  REDIRECT_URI,
  startLoginService,
  startProgram,
  trustOf,
} from '../support/identity/login.ts'
import { dataPlane } from '../support/service.ts'

const tokenResponse = z.strictObject({
  access_token: z.string().startsWith('fkb_'),
  token_type: z.literal('Bearer'),
  expires_in: z.literal(600),
})

test('a person logs in, confirms, and the program gets a key with the code', async (t) => {
  const service = await startLoginService(t)
  const { url, verifier } = startProgram(service.publicUrl)
  const { browser, page } = await logIn(url)
  assert.equal(page.status, 200, page.body)
  const { code = '', state, iss } = await decide(browser, page)
  assert.deepEqual([state, iss], ['the state', service.publicUrl])
  const answer = await exchange(service.publicUrl, codeForm(code, verifier))
  assert.equal(answer.status, 200)
  const { access_token } = tokenResponse.parse(await answer.json())
  const registered = await service.register(access_token)
  assert.equal(registered.status, 201)
  const { api_key_value, plan } = z
    .looseObject({ api_key_value: z.string(), plan: z.string() })
    .parse(await registered.json())
  assert.equal(plan, 'gold')
  assert.equal(await dataPlane(service, api_key_value), 200)
  assert.ok((await service.register(access_token)).status >= 400)
})

test('every fault of an authorization request is shown or sent back, and the provider is not asked', async (t) => {
  const { publicUrl, provider } = await startLoginService(t)
  const get = (url: string) => fetch(url, { redirect: 'manual', headers: { accept: 'text/html' } })
  const shown: Record<string, string>[] = [
    { client_id: 'other' },
    { redirect_uri: 'https://evil.com/' },
    { redirect_uri: 'http://127.0.0.1.evil.com/' },
    { redirect_uri: 'http://127.0.0.1@evil.com/' },
    { redirect_uri: 'http://localhost:1/..//evil' },
    { redirect_uri: 'javascript:alert(1)' },
    { redirect_uri: '<script>alert(1)</script>' },
    { redirect_uri: 'https://keys.example.com/' },
  ]
  for (const changes of shown) {
    const answer = await get(startProgram(publicUrl, changes).url)
    const body = await answer.text()
    assert.equal(answer.status, 400, JSON.stringify(changes))
    assert.equal(answer.headers.get('location'), null)
    assert.deepEqual(answer.headers.getSetCookie(), [])
    assert.match(body, /client_id must be firstkey|redirect_uri must be an address of this computer/)
    assert.ok(!body.includes('evil') && !body.includes('alert(1)'), 'nothing of the request is shown')
  }
  const sent: [error: string, changes: Record<string, string>][] = [
    ['unsupported_response_type', { response_type: 'token' }],
    ['invalid_request', { code_challenge_method: 'plain' }],
    ['invalid_request', { code_challenge: '' }],
    ['invalid_request', { response_mode: 'form_post' }],
    ['invalid_request', { issuer: 'nowhere' }],
    ['interaction_required', { prompt: 'none' }],
  ]
  for (const [error, changes] of sent) {
    const answer = await get(startProgram(publicUrl, changes).url)
    assert.equal(answer.status, 303, JSON.stringify(changes))
    const url = new URL(answer.headers.get('location') ?? '')
    assert.equal(url.origin + url.pathname, REDIRECT_URI)
    const { error_description: _, ...rest } = Object.fromEntries(url.searchParams)
    assert.deepEqual(rest, { error, state: 'the state', iss: publicUrl })
  }
  const twice = await get(`${startProgram(publicUrl).url}&redirect_uri=${encodeURIComponent(REDIRECT_URI)}`)
  assert.equal(twice.status, 400)
  const huge = await get(startProgram(publicUrl, { state: 'x'.repeat(5_000) }).url)
  assert.equal(new URL(huge.headers.get('location') ?? '').searchParams.get('error'), 'invalid_request')
  assert.deepEqual(provider.requests, [])
})

test('an answer of the provider counts only in the browser and the login that it is for, once, and for ten minutes', async (t) => {
  let now = Date.now()
  const service = await startLoginService(t, { clock: () => now })
  const { publicUrl } = service
  const isCallback = (url: string) => url.startsWith(`${publicUrl}/connect/callback`)
  const answerTo = async (browser: HttpBrowser) => {
    const form = await browser.get(startProgram(publicUrl).url)
    const visit = await browser.submit(form, { login: 'alice', password: 'correct horse' }, isCallback)
    return visit.headers.get('location') ?? ''
  }
  const refused = async (browser: HttpBrowser, url: string, what: string) => {
    const { status, body, headers } = await browser.get(url)
    assert.equal(status, 400, `${what}: ${body}`)
    assert.match(body, /<code>login_failed<\/code>/, what)
    assert.match(body, /<code>req_\w+<\/code>/, what)
    assert.ok(!headers.getSetCookie().some((cookie) => /strict/i.test(cookie)), what)
  }
  const changed = (url: string, changes: Record<string, string>) => {
    const parsed = new URL(url)
    for (const [name, value] of Object.entries(changes)) parsed.searchParams.set(name, value)
    return parsed.href
  }
  const one = openHttpBrowser()
  const url = await answerTo(one)
  await refused(openHttpBrowser(), url, 'another browser')
  await refused(one, changed(url, { state: '' }), 'no state')
  await refused(one, changed(url, { state: 'x'.repeat(22) }), 'another state')
  await refused(one, `${url}&state=x`, 'two states')
  // The login is not over yet: none of these was its own.
  const page = await one.get(url)
  assert.equal(page.status, 200, page.body)
  await refused(one, url, 'replayed')

  for (const [what, changes] of [
    ['the issuer of another provider', { iss: 'https://evil.example.com' }],
    ['no issuer', { iss: '' }],
    ['another code', { code: 'x' }],
    ['no code', { code: '' }],
  ] as const) {
    const browser = openHttpBrowser()
    const answer = await answerTo(browser)
    await refused(browser, changed(answer, changes), what)
    await refused(browser, answer, `${what}, then the right one`)
  }

  const slow = openHttpBrowser()
  const late = await answerTo(slow)
  now += 600_000
  await refused(slow, late, 'after ten minutes')

  const tabs = openHttpBrowser()
  const first = await tabs.get(startProgram(publicUrl).url)
  const second = await tabs.get(startProgram(publicUrl).url)
  for (const form of [second, first]) {
    const { status, body } = await tabs.submit(form, { login: 'alice', password: 'correct horse' })
    assert.equal(status, 200, body)
  }
  for (let i = 0; i < 10; i++)
    await tabs.get(startProgram(publicUrl).url, (url) => !url.startsWith(publicUrl))
  assert.ok(tabs.cookiesOf(publicUrl).size <= 4, 'the logins of a browser are bounded')
})

test('an ID token counts only with its nonce, for this client, of this issuer, signed by it and valid', async (t) => {
  const service = await startLoginService(t)
  const { publicUrl, provider } = service
  const forged = await startIssuer(t, { alg: 'RS256' })
  /** Answers the request for tokens instead of the provider, with an ID token that has these claims. */
  const answerWith = (claims: Record<string, unknown>, options = {}) => {
    const { nonce } = Object.fromEntries(asked.searchParams)
    const standard = { iss: provider.issuer, aud: 'firstkey', sub: 'alice-1', team: 'dev', nonce }
    return JSON.stringify({
      ...{ access_token: 'an-opaque-token', token_type: 'Bearer' },
      id_token: forged.sign({ ...standard, ...claims }, options),
    })
  }
  let asked = new URL(publicUrl)
  let body = () => '{}'
  const usesForgedKeys = true
  provider.intercept = (request, response) => {
    const { pathname } = new URL(request.url ?? '/', provider.issuer)
    if (pathname === '/jwks' && usesForgedKeys)
      response
        .setHeader('content-type', 'application/json')
        .end(JSON.stringify({ keys: forged.keys.map(({ jwk }) => jwk) }))
    else if (pathname === '/token') response.setHeader('content-type', 'application/json').end(body())
    else return false
    return true
  }
  const attempt = async () => {
    const browser = openHttpBrowser()
    const isProvider = (url: string) => url.startsWith(provider.issuer)
    const start = await browser.get(startProgram(publicUrl).url, isProvider)
    asked = new URL(start.headers.get('location') ?? '')
    const query = new URLSearchParams({
      code: 'x',
      iss: provider.issuer,
      state: asked.searchParams.get('state') ?? '',
    })
    return browser.get(`${publicUrl}/connect/callback?${query}`)
  }
  body = () => answerWith({})
  const valid = await attempt()
  assert.equal(valid.status, 200, valid.body)
  const now = Math.floor(Date.now() / 1_000)
  const cases: [what: string, body: () => string][] = [
    ['another nonce', () => answerWith({ nonce: 'x' })],
    ['no nonce', () => answerWith({ nonce: undefined })],
    ['another audience', () => answerWith({ aud: 'other' })],
    ['several audiences without azp', () => answerWith({ aud: ['other', 'firstkey'] })],
    ['another issuer', () => answerWith({ iss: 'https://evil.example.com' })],
    ['a slash at the end of the issuer', () => answerWith({ iss: `${provider.issuer}/` })],
    ['expired', () => answerWith({ iat: now - 600, exp: now - 300 })],
    ['no expiry', () => answerWith({ exp: undefined })],
    ['not signed', () => answerWith({}, { alg: 'none' })],
    [
      'signed with the client secret',
      () => answerWith({}, { alg: 'HS256', key: Buffer.from(provider.clientSecret) }),
    ],
    ['no ID token', () => JSON.stringify({ access_token: 'an-opaque-token', token_type: 'Bearer' })],
  ]
  for (const [what, content] of cases) {
    body = content
    const { status, body: page } = await attempt()
    assert.equal(status, 400, `${what}: ${page}`)
    assert.match(page, /<code>login_failed<\/code>/, what)
  }
  const audit = await service.deps.store.listAudit({ limit: 100 })
  assert.ok(audit.every(({ actor }) => actor.identity?.issuer === provider.issuer))
  assert.equal(audit.length > 0, true)
  const stranger = createSigningKey('RS256')
  body = () => answerWith({}, { key: stranger, kid: forged.keys[0]?.kid })
  assert.equal((await attempt()).status, 400, 'signed with another key')
  assert.ok(service.logLines.some((line) => line.includes('a login failed')))
  for (const secret of ['an-opaque-token', 'eyJ', 'alice-1'])
    assert.ok(!service.logLines.some((line) => line.includes(secret)), `${secret} is in no log line`)
})

test('an error of the provider goes back to the program, and so does an outage', async (t) => {
  const { publicUrl, provider, logLines } = await startLoginService(t)
  const isProgram = (url: string) => url.startsWith(REDIRECT_URI)
  const cancelled = openHttpBrowser()
  const form = await cancelled.get(startProgram(publicUrl).url)
  const answer = await cancelled.submit(form, { cancel: 'yes' }, isProgram)
  const { error_description, ...rest } = Object.fromEntries(
    new URL(answer.headers.get('location') ?? '').searchParams,
  )
  assert.deepEqual(rest, { error: 'access_denied', state: 'the state', iss: publicUrl })
  assert.match(error_description ?? '', /Example/)

  const outage = async (path: string, respond: (response: ServerResponse) => void) => {
    const browser = openHttpBrowser()
    const form = await browser.get(startProgram(publicUrl).url, isProgram)
    provider.intercept = (request, response) => {
      if (!request.url?.startsWith(path)) return false
      respond(response)
      return true
    }
    const { headers } = await browser.submit(form, { login: 'alice', password: 'correct horse' }, isProgram)
    provider.intercept = null
    return new URL(headers.get('location') ?? '').searchParams.get('error')
  }
  assert.equal(await outage('/token', (response) => response.destroy()), 'temporarily_unavailable')
  assert.equal(await outage('/token', (response) => response.writeHead(503).end()), 'temporarily_unavailable')
  const redirected = (response: ServerResponse) =>
    response.writeHead(302, { location: 'http://169.254.169.254/' }).end()
  assert.equal(await outage('/token', redirected), 'temporarily_unavailable')
  const huge = (response: ServerResponse) => response.writeHead(200).end('x'.repeat(300_000))
  assert.equal(await outage('/token', huge), 'temporarily_unavailable')
  const misconfigured = (response: ServerResponse) =>
    response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":"invalid_client"}')
  assert.equal(await outage('/token', misconfigured), 'server_error')
  assert.ok(logLines.some((line) => /refused a login/.test(line) && /invalid_client/.test(line)))
  assert.ok(!logLines.some((line) => line.includes(provider.clientSecret)))
})

test('while the provider is down, a login is sent back, and fkb_ tokens register', async (t) => {
  const service = await startLoginService(t)
  service.provider.intercept = (_request, response) => {
    response.destroy()
    return true
  }
  const { status, headers } = await openHttpBrowser().get(startProgram(service.publicUrl).url, () => true)
  const { error, state } = Object.fromEntries(new URL(headers.get('location') ?? '').searchParams)
  assert.deepEqual([status, error, state], [303, 'temporarily_unavailable', 'the state'])
  const asked = service.provider.requests.length
  await openHttpBrowser().get(startProgram(service.publicUrl).url, () => true)
  assert.equal(service.provider.requests.length, asked, 'it is not asked again at once')
  const { secret } = await service.token()
  assert.equal((await service.register(secret)).status, 201)
})

test('an identity that no rule allows is told so with the request id, and the program that it may not', async (t) => {
  const service = await startLoginService(t)
  const { page } = await logIn(startProgram(service.publicUrl).url, 'bob')
  assert.equal(page.status, 403)
  assert.match(page.body, /This identity may not register/)
  const [, requestId] = page.body.match(/<code>(req_\w+)<\/code>/) ?? []
  const links = [...page.body.matchAll(/<a href="([^"]+)">(Go back|Log in with)/g)].map(([, href = '']) =>
    href.replaceAll('&amp;', '&').replaceAll('&#38;', '&').replaceAll('&#61;', '='),
  )
  const [again, back] = links.map((link) => new URL(link))
  assert.equal(back?.searchParams.get('error'), 'access_denied')
  assert.equal(back?.searchParams.get('state'), 'the state')
  assert.equal(again?.searchParams.get('prompt'), 'login')
  const [entry, ...others] = await service.deps.store.listAudit({ limit: 10 })
  assert.equal(others.length, 0)
  assert.deepEqual(
    [entry?.action, entry?.detail, entry?.actor.kind, entry?.actor.requestId],
    ['request.refused', 'identity_not_allowed', 'identity', requestId],
  )
  assert.deepEqual(entry?.actor.identity?.claims, { sub: 'bob-2', team: 'guests' })
  assert.equal(service.gateway.account.keys.size, 0)
})

test('a login that is too long for its form or its code ends before the confirmation', async (t) => {
  const { alice } = LOGIN_ACCOUNTS
  const service = await startLoginService(t, {
    provider: {
      accounts: { alice: { ...alice, claims: { ...alice.claims, department: 'x'.repeat(12_000) } } },
    },
    trust: (issuer) => {
      const { issuers, rules } = trustOf(issuer)
      const other = { ...rules[0], id: 'other', match: { department: 'sales' } }
      return { issuers, rules: [other, ...rules] }
    },
  })
  const { page } = await logIn(startProgram(service.publicUrl).url)
  assert.equal(page.status, 400)
  assert.match(page.body, /login_failed/)
  assert.match(page.body, /a claim that the rules look at is too long/)
})

test('an identity that an operator stopped gets no confirmation, and no code for one that it has', async (t) => {
  const service = await startLoginService(t)
  const { publicUrl, deps } = service
  const { code, verifier } = await obtainCode(service)
  assert.equal((await exchange(publicUrl, codeForm(code, verifier))).status, 200)
  const early = await logIn(startProgram(publicUrl).url)
  const [virtual] = await deps.store.listTokens()
  await deps.store.revokeToken(virtual?.id ?? '', SERVICE, Date.now())
  const confirmed = await early.browser.submit(early.page, { decision: 'allow' })
  assert.equal(confirmed.status, 403, confirmed.body)
  const { page } = await logIn(startProgram(publicUrl).url)
  assert.equal(page.status, 403)
  assert.match(page.body, /<code>identity_not_allowed<\/code>/)
  const entries = await deps.store.listAudit({ limit: 10, tokenId: virtual?.id ?? '' })
  assert.deepEqual(
    entries.filter(({ action }) => action === 'request.refused').map(({ detail }) => detail),
    ['identity_not_allowed'],
  )
})

test('the confirmation names the person, the plan, the lifetime and the program, and cannot be framed', async (t) => {
  const { publicUrl, deps } = await startLoginService(t)
  const { page } = await logIn(startProgram(publicUrl).url)
  const text = page.body.replaceAll(/<[^>]+>/g, '').replaceAll(/\s+/g, ' ')
  for (const part of [
    'You are logged in at Example as Alice (alice@example.com).',
    'Asked bya program on this computer (127.0.0.1, port 5123)',
    'Plangold (or free, if that is asked for)',
    'The key works for24 hours',
    deps.config.apiBaseUrl,
  ])
    assert.ok(text.includes(part), `${part} in ${text}`)
  const policy = page.headers.get('content-security-policy') ?? ''
  assert.match(policy, /frame-ancestors 'none'/)
  assert.match(policy, /form-action 'self' http:\/\/127\.0\.0\.1:5123;/)
  assert.match(policy, /script-src 'self'/)
  assert.equal(page.headers.get('cache-control'), 'no-store')
  const [cookie = ''] = page.headers.getSetCookie().filter((line) => /SameSite=Strict/.test(line))
  assert.match(cookie, /; Path=\/; HttpOnly; SameSite=Strict$/)
})

test('a form that another site sends, or that holds the login of another browser, gives no code', async (t) => {
  const { publicUrl } = await startLoginService(t)
  const attacker = await logIn(startProgram(publicUrl).url)
  const { login: theirs = '' } = formOf(attacker.page).fields
  const victim = await logIn(startProgram(publicUrl).url)
  const { action, fields } = formOf(victim.page)
  const send = (form: Record<string, string>, headers: Record<string, string>, browser = victim.browser) => {
    const cookie = [...browser.cookiesOf(publicUrl)].map(([name, value]) => `${name}=${value}`).join('; ')
    return fetch(action, {
      method: 'POST',
      redirect: 'manual',
      headers: { cookie, 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body: new URLSearchParams(form),
    })
  }
  const { origin } = new URL(publicUrl)
  const own = { ...fields, decision: 'allow' } as Record<string, string>
  const cases: [
    what: string,
    form: Record<string, string>,
    headers: Record<string, string>,
    browser?: HttpBrowser,
  ][] = [
    ['of another origin', own, { origin: 'https://evil.example.com' }],
    ['of an opaque origin', own, { origin: 'null' }],
    ['without an origin', own, {}],
    ['of another site', own, { origin, 'sec-fetch-site': 'cross-site' }],
    ['of the same site', own, { origin, 'sec-fetch-site': 'same-site' }],
    ["with the attacker's login", { ...own, login: theirs }, { origin }],
    ['without a login', { decision: 'allow' }, { origin }],
    ['without cookies', own, { origin }, openHttpBrowser()],
    ["with the attacker's cookies", own, { origin }, attacker.browser],
    ['without a decision', fields, { origin }],
    ['with another decision', { ...own, decision: 'Allow' }, { origin }],
  ]
  for (const [what, form, headers, browser] of cases) {
    const answer = await send(form, headers, browser)
    assert.equal(answer.status, 400, what)
    assert.equal(answer.headers.get('location'), null, what)
  }
  assert.equal((await fetch(`${publicUrl}/connect/confirm`)).status, 405)
  assert.equal((await send(own, { origin })).status, 303, 'and its own form still does')
})

test('Cancel goes back to the program, and a decision counts once', async (t) => {
  const { publicUrl } = await startLoginService(t)
  const { browser, page } = await logIn(startProgram(publicUrl).url)
  const { error_description: _, ...rest } = await decide(browser, page, 'cancel')
  assert.deepEqual(rest, { error: 'access_denied', state: 'the state', iss: publicUrl })
  assert.equal((await browser.submit(page, { decision: 'allow' })).status, 400)
})

test('a code gives one token, in parallel and at another process, and none with other parameters', async (t) => {
  const service = await startLoginService(t)
  const { publicUrl } = service
  const { code, verifier } = await obtainCode(service)
  const invalid = async (form: Record<string, string>, what: string) => {
    const answer = await exchange(publicUrl, form)
    const { error } = z.looseObject({ error: z.string() }).parse(await answer.json())
    assert.deepEqual([answer.status, error], [400, 'invalid_grant'], what)
  }
  await invalid(codeForm(code, 'v'.repeat(43)), 'another verifier')
  await invalid(
    codeForm(code, verifier, { redirect_uri: 'http://127.0.0.1:5124/callback' }),
    'another redirect URI',
  )
  await invalid(codeForm(`${code.slice(0, -8)}AAAAAAAA`, verifier), 'a changed code')
  const entries = await service.deps.store.listAudit({ limit: 10 })
  assert.equal(
    entries.filter(({ actor }) => actor.identity?.issuer === service.provider.issuer).length > 0,
    true,
  )
  const answers = await Promise.all([1, 2, 3, 4, 5].map(() => exchange(publicUrl, codeForm(code, verifier))))
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 400, 400, 400, 400])
  await invalid(codeForm(code, verifier), 'once more')
  assert.equal(service.gateway.account.keys.size, 0)
})

test('a code is not valid any more after a minute, nor after its rule is gone', async (t) => {
  let now = Date.now()
  const service = await startLoginService(t, { clock: () => now })
  const { publicUrl, provider } = service
  const late = await obtainCode(service)
  now += 60_000
  assert.equal((await exchange(publicUrl, codeForm(late.code, late.verifier))).status, 400)
  const { code, verifier } = await obtainCode(service)
  service.trust(trustOf(provider.issuer, { match: { team: 'ops' } }))
  const answer = await exchange(publicUrl, codeForm(code, verifier))
  const { error, code: fault } = z
    .looseObject({ error: z.string(), code: z.string() })
    .parse(await answer.json())
  assert.deepEqual([answer.status, error, fault], [400, 'invalid_grant', 'identity_not_allowed'])
})

test('with several providers the person chooses, or the program does', async (t) => {
  const service = await startLoginService(t, {
    trust: (issuer) => {
      const { issuers, rules } = trustOf(issuer)
      const other = {
        ...issuers.staff,
        issuer: `${issuer}/other`,
        login: { ...issuers.staff.login, label: '<Other>' },
      }
      return { issuers: { ...issuers, other }, rules }
    },
  })
  const { url } = startProgram(service.publicUrl)
  const browser = openHttpBrowser()
  const choice = await browser.get(url)
  assert.equal(choice.status, 200)
  assert.match(choice.body, /Sign in with &#60;Other&#62;/)
  const [, link = ''] = choice.body.match(/<a href="([^"]+)">Sign in with Example/) ?? []
  const chosen = link.replaceAll('&#38;', '&').replaceAll('&#61;', '=').replaceAll('&amp;', '&')
  assert.equal(new URL(chosen).searchParams.get('issuer'), 'staff')
  assert.equal((await logIn(chosen, 'alice', browser)).page.status, 200)
  const named = await logIn(startProgram(service.publicUrl, { issuer: 'staff' }).url)
  assert.equal(named.page.status, 200)
})

test('the page with the code shows only what can be one', async (t) => {
  const service = await startLoginService(t)
  const redirect = { redirect_uri: `${service.publicUrl}/connect/code` }
  const { url, verifier } = startProgram(service.publicUrl, redirect)
  const { browser, page } = await logIn(url)
  assert.match(page.body, /a program that waits for the code/)
  const shown = await browser.submit(page, { decision: 'allow' })
  const [, code = ''] = shown.body.match(/<pre id="code"><code>([^<]+)<\/code>/) ?? []
  assert.ok(code.length < 1_000, 'a terminal takes at most 4095 characters in one line')
  assert.equal((await exchange(service.publicUrl, codeForm(code, verifier, redirect))).status, 200)
  for (const query of ['', '?code=', '?code=Call%200900', '?code=%3Cb%3E', '?error=x&error_description=Call'])
    assert.match((await browser.get(`${service.publicUrl}/connect/code${query}`)).body, /There is no code/)
  const denied = await browser.get(`${service.publicUrl}/connect/code?error=access_denied`)
  assert.match(denied.body, /You did not allow the program/)
})

test('below a stage and behind a proxy, all of it is at PUBLIC_URL', async (t) => {
  const service = await startLoginService(t, { path: '/prod' })
  const { code, verifier } = await obtainCode(service)
  assert.equal((await exchange(service.publicUrl, codeForm(code, verifier))).status, 200)
  // A proxy that ends TLS: the service is asked by another name, without the stage.
  const PUBLIC_URL = 'https://keys.example.com/prod'
  const behind = await startLoginService(t, { env: { PUBLIC_URL } })
  const local = `http://127.0.0.1:${new URL(behind.publicUrl).port}`
  const answer = await fetch(startProgram(local).url, { redirect: 'manual' })
  const location = new URL(answer.headers.get('location') ?? '')
  assert.equal(location.searchParams.get('redirect_uri'), `${PUBLIC_URL}/connect/callback`)
  const [cookie = ''] = answer.headers.getSetCookie()
  assert.match(
    cookie,
    /^__Host-firstkey-login-[\w-]{22}=[\w.-]+; Max-Age=600; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
  )
})
