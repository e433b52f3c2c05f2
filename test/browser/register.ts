import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import { type TestContext, test } from 'node:test'
import type { Page } from 'playwright-core'
import { createSecret } from '../../src/auth/token-format.ts'
import { tabKey } from '../support/chromium/keyboard.ts'
import {
  assertAccessible,
  assertFits,
  assertInView,
  keepScreenshot,
  openPage,
} from '../support/chromium/window.ts'
import { dataPlane, type ServiceOptions, startService } from '../support/service.ts'

const KEY = /^[A-Za-z0-9]{40}$/

const startShown = (t: TestContext, options: ServiceOptions = {}) =>
  startService(t, { env: { API_PROBE_PATH: '/probe' }, ...options })

async function fill(page: Page, token: string, name = 'acme-agent'): Promise<void> {
  await page.getByLabel('Bootstrap token').fill(token)
  await page.getByLabel('Name', { exact: true }).fill(name)
}

const submit = (page: Page) => page.getByRole('button', { name: 'Get my key' }).click()
const problem = (page: Page) => page.locator('#problem')

async function shownKey(page: Page): Promise<string> {
  await page.getByRole('heading', { name: 'Your API key' }).waitFor()
  const key = await page.getByLabel('API key', { exact: true }).inputValue()
  assert.match(key, KEY)
  return key
}

test('a user without a mouse gets a working key and copies it', async (t) => {
  const service = await startShown(t, { gateway: { propagationMs: 1_500 } })
  const { secret } = await service.token({ plans: ['free', 'gold'] })
  const page = await openPage(t, service.url)
  const { keyboard } = page
  const { focused, tabTo } = tabKey(page)
  await keyboard.press('Tab')
  assert.equal(await focused(), 'Skip to main content')
  await tabTo('token')
  await keyboard.type(secret)
  assert.equal(await page.getByLabel('Bootstrap token').getAttribute('type'), 'password')
  await tabTo('show-token')
  await keyboard.press('Space')
  assert.equal(await page.getByLabel('Bootstrap token').getAttribute('type'), 'text')
  await tabTo('name')
  await keyboard.type('acme-agent')
  await keyboard.press('Tab')
  await keyboard.press('ArrowDown')
  await keyboard.press('ArrowDown')
  await keepScreenshot(page, 'home-filled')
  await keyboard.press('Enter')

  const key = await shownKey(page)
  assert.equal(await focused(), 'key-title', 'a screen reader announces the key')
  await page.getByText('The API does not accept the key yet.').waitFor()
  await assertAccessible(page)
  await page.getByText('The key works.').waitFor()
  await keepScreenshot(page, 'home-key')
  assert.equal(await dataPlane(service, key), 200)
  const [registration] = await service.deps.store.listRegistrations({ limit: 2 })
  assert.equal(registration?.plan, 'gold')

  await page.getByRole('button', { name: 'Copy the API key' }).focus()
  await keyboard.press('Enter')
  assert.equal(await page.evaluate<string>('navigator.clipboard.readText()'), key)
  await page.getByRole('button', { name: 'Copy the management token' }).click()
  const management = await page.evaluate<string>('navigator.clipboard.readText()')
  const own = await fetch(`${service.url}/register/${registration?.id}`, {
    headers: { authorization: `Bearer ${management}` },
  })
  assert.equal(own.status, 200)
})

test('a fault is explained above the form and at its field', async (t) => {
  const service = await startShown(t)
  const { secret } = await service.token({ plans: ['free'], namePrefix: 'acme-' })
  const page = await openPage(t, service.url)
  const says = async (text: string | RegExp) => {
    await problem(page).getByText(text).waitFor()
    assert.equal(await page.evaluate('document.activeElement.id'), 'problem')
  }
  await submit(page)
  await says('Enter the bootstrap token that the operator gave you.')
  await says('Enter a name, such as acme-agent.')
  await assertAccessible(page)
  await keepScreenshot(page, 'home-errors')
  const name = page.getByLabel('Name', { exact: true })
  assert.equal(await name.getAttribute('aria-invalid'), 'true')
  await problem(page).getByText('Enter a name').click()
  assert.equal(await page.evaluate('document.activeElement.id'), 'name')

  await fill(page, 'fkm_0123')
  await submit(page)
  await says('This is a management token.')
  await fill(page, createSecret('fkb_'))
  await submit(page)
  await says('The bootstrap token is not known to this service.')
  const mistyped = `${secret.slice(0, -1)}${secret.endsWith('a') ? 'b' : 'a'}`
  await fill(page, mistyped)
  await submit(page)
  await says('The token has a typing error: its checksum does not match.')
  assert.ok(!/ask the operator/i.test(await problem(page).innerText()))
  await fill(page, secret.slice(0, -5))
  await submit(page)
  await says('and 38 letters and digits.')
  await fill(page, secret, 'other')
  await submit(page)
  await says(/acme-/)
  await fill(page, secret, 'acme-\u{202E}')
  await submit(page)
  await says(/^The name must/)
  await fill(page, secret)
  await page.getByLabel('gold').check()
  await submit(page)
  await says('The plan must be one of: free.')
  await page.getByLabel("Your token's default plan").check()
  await submit(page)
  await shownKey(page)
})

test('a busy service is retried, and a lost response creates no second key', async (t) => {
  const service = await startShown(t)
  const { secret, token } = await service.token({ maxUses: 1 })
  const page = await openPage(t, service.url)
  service.gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'cut', times: 3 })
  const keys = new Set<string | undefined>()
  let requests = 0
  await page.route('**/register', async (route) => {
    keys.add(route.request().headers()['idempotency-key'])
    requests += 1
    const answer = await route.fetch()
    // The first success never reaches the page.
    if (answer.status() === 201 && requests < 3) await route.abort('connectionreset')
    else await route.fulfill({ response: answer })
  })
  await fill(page, secret)
  await submit(page)
  await page.getByText(/Trying again in \d+ seconds?\./).waitFor()
  await keepScreenshot(page, 'home-busy')
  const key = await shownKey(page)
  assert.equal(keys.size, 1)
  assert.ok(requests >= 3, `${requests} requests`)
  assert.equal(await dataPlane(service, key), 200)
  assert.equal(service.gateway.account.keys.size, 1)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
})

test('after a long loss of the response, the page says so, asks before it is closed, and recovers the same key', async (t) => {
  const service = await startShown(t)
  const { secret, token } = await service.token()
  const page = await openPage(t, service.url)
  let requests = 0
  await page.route('**/register', async (route) => {
    requests += 1
    const answer = await route.fetch()
    // The response of a gateway in between that times out.
    if (requests === 1)
      await route.fulfill({ status: 504, headers: { 'retry-after': '60' }, body: '<h1>Time-out</h1>' })
    else await route.fulfill({ response: answer })
  })
  await fill(page, secret)
  await submit(page)
  await problem(page).getByText('Your key may already exist.').waitFor()
  await problem(page).getByText('Press the button again in 60 seconds.').waitFor()
  await assertAccessible(page)
  await keepScreenshot(page, 'home-unknown-outcome')
  const asked = page.waitForEvent('dialog')
  await page.close({ runBeforeUnload: true })
  await (await asked).dismiss()

  const name = page.getByLabel('Name', { exact: true })
  await name.pressSequentially('x')
  await name.press('Backspace')
  await page.getByLabel('free').check()
  await page.getByLabel("Your token's default plan").check()
  await submit(page)
  const key = await shownKey(page)
  assert.equal(await dataPlane(service, key), 200)
  assert.equal(service.gateway.account.keys.size, 1)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
})

test('the page stays usable after unexpected responses from a proxy in between', async (t) => {
  const service = await startShown(t)
  const { secret } = await service.token()
  const page = await openPage(t, service.url)
  const answers = [
    { status: 502, headers: { 'retry-after': '60' }, body: 'null' },
    { status: 201, headers: { 'retry-after': '60' }, body: '{"hello":"world"}' },
    { status: 403, body: '<h1>Blocked</h1>' },
    {
      status: 429,
      headers: { 'retry-after': 'Wed, 25 Nov 2026 00:00:00 GMT' },
      body: '{"message":"Too Many Requests"}',
    },
  ]
  let requests = 0
  await page.route('**/register', async (route) => {
    const answer = answers[requests++]
    await (answer === undefined ? route.continue() : route.fulfill(answer))
  })
  await fill(page, secret)
  for (const status of [502, 201, 403]) {
    await submit(page)
    await problem(page).getByText(`The service sent an unexpected response (HTTP ${status}).`).waitFor()
  }
  await submit(page)
  await page.getByText('Trying again in 2 seconds.').waitFor()
  assert.ok(!(await page.getByLabel('Name', { exact: true }).isEditable()))
  await shownKey(page)
  assert.equal(requests, 5)
})

test('on a page that was loaded without HTTPS, the key is shown and can be copied by hand', async (t) => {
  const service = await startShown(t, { env: { HOST: '127.0.0.1' } })
  const { secret } = await service.token()
  const page = await openPage(t, service.url.replace('127.0.0.1', 'keys.test'), { permissions: [] })
  assert.equal(await page.evaluate('isSecureContext'), false)
  await fill(page, secret)
  await submit(page)
  const key = await shownKey(page)
  await page.getByRole('button', { name: 'Copy the API key' }).click()
  await page.getByText('Selected. Copy it with your keyboard.').waitFor()
  assert.equal(await page.evaluate('getSelection().toString()'), key)
})

test('closing the page asks for confirmation until the key and the management token are copied', async (t) => {
  const service = await startShown(t)
  const { secret } = await service.token()
  const page = await openPage(t, service.url)
  await fill(page, secret)
  await submit(page)
  await shownKey(page)
  const asked = page.waitForEvent('dialog')
  await page.close({ runBeforeUnload: true })
  const dialog = await asked
  assert.equal(dialog.type(), 'beforeunload')
  await dialog.dismiss()
  await page.getByRole('button', { name: 'Copy the API key' }).click()
  await page.getByText('Copied the API key.').waitFor()
  await page.getByRole('button', { name: 'Copy the management token' }).click()
  await page.getByText('Copied the management token.').waitFor()
  await page.getByRole('button', { name: 'Get another key' }).click()
  await page.getByLabel('Bootstrap token').waitFor()
  assert.equal(await page.getByLabel('Bootstrap token').inputValue(), '')
})

for (const colorScheme of ['light', 'dark'] as const)
  test(`at 320 px, ${colorScheme}: everything fits and is readable, before and after registration`, async (t) => {
    const service = await startShown(t)
    const { secret } = await service.token()
    const page = await openPage(t, service.url, { viewport: { width: 320, height: 640 }, colorScheme })
    await assertFits(page)
    await assertAccessible(page)
    await keepScreenshot(page, `home-320-${colorScheme}`)
    await submit(page)
    await problem(page).waitFor()
    await assertFits(page)
    await assertAccessible(page)
    await fill(page, secret, 'a'.repeat(128))
    await submit(page)
    await shownKey(page)
    await assertInView(page, '#api-key')
    await assertFits(page)
    await assertAccessible(page)
    await keepScreenshot(page, `home-320-${colorScheme}-key`)
  })

test('the limits of the plans are in words, also with one plan, or if API Gateway does not report them', async (t) => {
  const several = await openPage(t, (await startShown(t)).url)
  await several.getByText('5 requests a second, and up to 10 at once; 1,000 requests a day.').waitFor()
  await several.getByText('The plan sets no limit.').waitFor()

  const single = { USAGE_PLANS: '', USAGE_PLAN_ID: 'demofree' }
  const one = await openPage(t, (await startShown(t, { env: single })).url)
  assert.equal(await one.getByRole('radio').count(), 0)
  await one.getByText('Your plan: 5 requests a second').waitFor()

  const silent = await startShown(t)
  silent.gateway.faults.order({ operation: 'GetUsagePlan', when: 'before', kind: 'denied', times: 9 })
  const page = await openPage(t, silent.url)
  await page.getByText('Limits are not available right now.').first().waitFor()
})

test('without JavaScript the page says so and shows the commands instead', async (t) => {
  const service = await startShown(t)
  const page = await openPage(t, service.url, { javaScriptEnabled: false })
  await page.getByText('The form needs JavaScript').waitFor()
  assert.ok(await page.getByRole('button', { name: 'Get my key' }).isDisabled())
  await page.getByText('curl http').first().waitFor()
  await keepScreenshot(page, 'home-without-javascript')
})

test('the page works below a path, such as a stage of API Gateway', async (t) => {
  const service = await startShown(t, { env: { PUBLIC_URL: 'https://api.example.com/prod' } })
  const proxy = createServer((incoming, outgoing) => {
    const path = incoming.url?.replace(/^\/prod/, '') || '/'
    const forward = httpRequest(
      service.url + path,
      { method: incoming.method, headers: incoming.headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(outgoing)
      },
    )
    incoming.pipe(forward)
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.after(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  const address = proxy.address()
  assert.ok(typeof address === 'object' && address !== null)
  const page = await openPage(t, `http://127.0.0.1:${address.port}/prod`)
  await page.getByText('curl https://api.example.com/prod/register').first().waitFor()
  await fill(page, (await service.token()).secret)
  await submit(page)
  await shownKey(page)
  await page.getByText('never', { exact: true }).waitFor()
})
