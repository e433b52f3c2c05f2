import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { BrowserContextOptions, Page } from 'playwright-core'
import { tabKey } from '../support/chromium/keyboard.ts'
import { assertAccessible, assertFits, keepScreenshot, openPage } from '../support/chromium/window.ts'
import {
  codeForm,
  exchange,
  type LoginService,
  startLoginService,
  startProgram,
  trustOf,
} from '../support/identity/login.ts'
import { dataPlane } from '../support/service.ts'

const SMALL: BrowserContextOptions = { viewport: { width: 320, height: 640 } }

const open = (t: TestContext, { publicUrl, provider }: LoginService, url = `${publicUrl}/`, options = {}) =>
  openPage(t, url, options, [new URL(publicUrl).origin, provider.issuer])

async function logIn(page: Page, login = 'alice', password = 'correct horse'): Promise<void> {
  await page.getByLabel('Login').fill(login)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Log in' }).click()
}

const allow = (page: Page) => page.getByRole('button', { name: 'Allow' }).click()
const problem = (page: Page) => page.locator('#problem')

/** Starts a program on this computer that waits for the redirect of its login. */
async function listen(t: TestContext, host: string) {
  const received: URLSearchParams[] = []
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    if (pathname === '/callback') received.push(searchParams)
    const icon = '<link rel="icon" href="data:,">'
    response
      .setHeader('content-type', 'text/html')
      .end(`<!doctype html><title>Done</title>${icon}<h1>You can close this</h1>`)
  }).listen({ host: host.replace(/[[\]]/g, ''), port: 0 })
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const origin = `http://${host}:${(server.address() as AddressInfo).port}`
  return { origin, redirectUri: `${origin}/callback`, received }
}

test('a person without a mouse signs in on the page and gets a key without a token', async (t) => {
  const service = await startLoginService(t)
  const page = await open(t, service)
  const { keyboard } = page
  const { focused, tabTo } = tabKey(page)
  await page.getByRole('button', { name: 'Sign in with Example' }).waitFor()
  assert.ok(await page.getByText('open this page with https').isHidden())
  await assertAccessible(page)
  await keepScreenshot(page, 'sign-in-offered')
  await tabTo('Sign in with Example')
  await keyboard.press('Enter')
  await page.getByLabel('Login').fill('alice')
  await page.getByLabel('Password').fill('correct horse')
  await keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Get an API key with this login?' }).waitFor()
  await assertAccessible(page)
  await assertFits(page)
  await keepScreenshot(page, 'sign-in-confirmation')
  assert.ok(await page.getByText('the form of this service, in this browser').isVisible())
  await tabTo('Allow')
  await keyboard.press('Enter')

  await page.getByText('You are signed in with Example.').waitFor()
  assert.equal(page.url(), `${service.publicUrl}/`, 'the code is not in the address any more')
  assert.equal(await focused(), 'signed-in', 'a screen reader announces the login')
  assert.ok(await page.getByLabel('Bootstrap token').isHidden())
  await assertAccessible(page)
  await keepScreenshot(page, 'sign-in-done')
  await tabTo('name')
  await keyboard.type('acme-agent')
  await keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Your API key' }).waitFor()
  const key = await page.getByLabel('API key', { exact: true }).inputValue()
  assert.equal(await dataPlane(service, key), 200)
  assert.deepEqual(await page.evaluate('[sessionStorage.length, localStorage.length]'), [0, 0])
})

test('below a stage the page signs in, too, and on a small screen nothing is cut off', async (t) => {
  const service = await startLoginService(t, { path: '/prod' })
  const page = await open(t, service, undefined, SMALL)
  await assertFits(page)
  await page.getByRole('button', { name: 'Sign in with Example' }).click()
  await logIn(page)
  await page.getByRole('button', { name: 'Allow' }).waitFor()
  await assertFits(page)
  await keepScreenshot(page, 'sign-in-confirmation-small')
  await allow(page)
  await page.getByText('You are signed in with Example.').waitFor()
  await assertFits(page)
  await page.getByLabel('Name', { exact: true }).fill('acme-agent')
  await page.getByRole('button', { name: 'Get my key' }).click()
  await page.getByRole('heading', { name: 'Your API key' }).waitFor()
})

test('a login that is cancelled, refused, used up or not of this page leaves the token form', async (t) => {
  const service = await startLoginService(t)
  const page = await open(t, service)
  const signIn = () => page.getByRole('button', { name: 'Sign in with Example' }).click()
  await signIn()
  await page.getByRole('button', { name: 'Cancel' }).click()
  await problem(page).getByText('You did not finish the login.').waitFor()
  await assertAccessible(page)
  assert.ok(await page.getByLabel('Bootstrap token').isVisible())

  await signIn()
  await logIn(page)
  await page.getByRole('button', { name: 'Cancel' }).click()
  await problem(page).getByText('You did not finish the login.').waitFor()

  await page.goto(`${service.publicUrl}/?code=x&state=x&iss=${encodeURIComponent(service.publicUrl)}`)
  await problem(page).getByText('This page did not start that login').waitFor()
  assert.equal(page.url(), `${service.publicUrl}/`)

  await signIn()
  await allow(page)
  await page.getByText('You are signed in with Example.').waitFor()
  await page.getByRole('button', { name: 'Use a bootstrap token instead' }).click()
  assert.equal(await page.evaluate('document.activeElement.id'), 'token')

  await signIn()
  await allow(page)
  await page.getByText('You are signed in with Example.').waitFor()
  const [virtual] = (await service.deps.store.listTokens()).filter(({ federation }) => federation !== null)
  assert.ok(virtual !== undefined)
  service.trust(trustOf(service.provider.issuer, { id: 'others' }))
  await page.getByLabel('Name', { exact: true }).fill('acme-agent')
  await page.getByRole('button', { name: 'Get my key' }).click()
  await problem(page).getByText('The operator does not allow this account').waitFor()
  await keepScreenshot(page, 'sign-in-not-allowed')
})

test('an identity that no rule allows sees why, and logs in as somebody else', async (t) => {
  const service = await startLoginService(t)
  const program = await listen(t, '127.0.0.1')
  const { url } = startProgram(service.publicUrl, { redirect_uri: program.redirectUri })
  const page = await openPage(t, url, {}, [
    new URL(service.publicUrl).origin,
    service.provider.issuer,
    program.origin,
  ])
  await logIn(page, 'bob', 'battery staple')
  await page.getByRole('heading', { name: 'This identity may not register' }).waitFor()
  await assertAccessible(page)
  await keepScreenshot(page, 'sign-in-refused')
  await page.getByRole('link', { name: 'Log in with another account' }).click()
  await logIn(page)
  await page.getByText('Alice').waitFor()
  await page.goBack()
  await page.getByRole('button', { name: 'Log in' }).waitFor()
})

for (const host of ['127.0.0.1', 'localhost', '[::1]'])
  test(`a program that listens on ${host} gets the code, without JavaScript, also a refusal`, async (t) => {
    const service = await startLoginService(t)
    const program = await listen(t, host)
    const origins = [new URL(service.publicUrl).origin, service.provider.issuer, program.origin]
    const { url, verifier } = startProgram(service.publicUrl, { redirect_uri: program.redirectUri })
    const page = await openPage(t, url, { javaScriptEnabled: false }, origins)
    await logIn(page)
    await allow(page)
    await page.getByRole('heading', { name: 'You can close this' }).waitFor()
    const code = program.received[0]?.get('code') ?? ''
    const form = codeForm(code, verifier, { redirect_uri: program.redirectUri })
    assert.equal((await exchange(service.publicUrl, form)).status, 200)
    await page.goto(startProgram(service.publicUrl, { redirect_uri: program.redirectUri }).url)
    await page.getByRole('button', { name: 'Cancel' }).click()
    await page.getByRole('heading', { name: 'You can close this' }).waitFor()
    assert.equal(program.received[1]?.get('error'), 'access_denied')
  })

test('the page with the code, and the choice of a provider', async (t) => {
  const service = await startLoginService(t, {
    trust: (issuer) => {
      const { issuers, rules } = trustOf(issuer)
      const login = { ...issuers.staff.login, label: 'Partners' }
      return { issuers: { ...issuers, partners: { ...issuers.staff, issuer: `${issuer}/p`, login } }, rules }
    },
  })
  const redirect = { redirect_uri: `${service.publicUrl}/connect/code` }
  const { url, verifier } = startProgram(service.publicUrl, redirect)
  const page = await open(t, service, url)
  await assertAccessible(page)
  await keepScreenshot(page, 'sign-in-choice')
  await page.getByRole('link', { name: 'Sign in with Example' }).click()
  await logIn(page)
  await allow(page)
  await page.getByRole('heading', { name: 'Your code' }).waitFor()
  await assertAccessible(page)
  await assertFits(page)
  await keepScreenshot(page, 'sign-in-code')
  await page.getByRole('button', { name: 'Copy the code' }).click()
  await page.getByText('Copied the code.').waitFor()
  const code = await page.evaluate<string>('navigator.clipboard.readText()')
  assert.equal((await exchange(service.publicUrl, codeForm(code, verifier, redirect))).status, 200)
  await page.goto(`${service.publicUrl}/`)
  for (const name of ['Example', 'Partners'])
    assert.ok(await page.getByRole('button', { name: `Sign in with ${name}` }).isVisible())
  await keepScreenshot(page, 'sign-in-several')
})

test('without JavaScript or HTTPS the page offers the token form alone', async (t) => {
  const service = await startLoginService(t)
  const plain = await open(t, service, undefined, { javaScriptEnabled: false })
  assert.ok(await plain.getByLabel('Bootstrap token').isVisible())
  assert.ok(await plain.getByText('The form needs JavaScript').isVisible())
  assert.ok(await plain.getByText('Sign in with').isHidden())
  const { port } = new URL(service.publicUrl)
  const insecure = await openPage(t, `http://keys.test:${port}/`)
  await insecure.getByText('To sign in, open this page with https.').waitFor()
  assert.ok(await insecure.getByRole('button', { name: 'Sign in with Example' }).isDisabled())
  await assertAccessible(insecure)
})
