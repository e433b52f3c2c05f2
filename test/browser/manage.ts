import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Page } from 'playwright-core'
import { assertAccessible, assertFits, keepScreenshot, openPage } from '../support/chromium/window.ts'
import { dataPlane, registered, startService } from '../support/service.ts'

async function openOwn(t: TestContext, options: Parameters<typeof openPage>[2] = {}) {
  const service = await startService(t, { env: { API_PROBE_PATH: '/probe' } })
  const own = await registered(service)
  const page = await openPage(t, `${service.url}/register/${own.registration_id}`, options)
  return { service, own, page }
}

async function show(page: Page, token: string): Promise<void> {
  await page.getByLabel('Management token').fill(token)
  await page.getByRole('button', { name: 'Show the registration' }).click()
}

const status = (page: Page, text: string) =>
  page.locator('#registration-details').getByText(text, { exact: true }).first().waitFor()

test('an owner opens the management URL, looks at the registration, replaces the key and deletes it', async (t) => {
  const { service, own, page } = await openOwn(t)
  await keepScreenshot(page, 'manage')
  await show(page, own.management.token)
  await page.getByRole('heading', { name: 'Your registration' }).waitFor()
  await status(page, 'active')
  assert.equal(await page.evaluate('document.activeElement.id'), 'registration-title')
  assert.equal(await page.locator('#usage tbody tr').count(), 7)
  await assertAccessible(page)
  await keepScreenshot(page, 'manage-shown')

  const ask = page.getByRole('button', { name: 'Get a new key…' })
  await ask.click()
  await page.getByRole('button', { name: 'Cancel' }).click()
  assert.equal(service.gateway.account.keys.size, 1, 'nothing happens without a yes')
  await page.getByLabel('The present key').selectOption('0')
  await ask.click()
  await page.getByText('The present key is deleted at once.').waitFor()
  await assertAccessible(page)
  await page.getByRole('button', { name: 'Get a new key', exact: true }).click()
  await page.getByRole('heading', { name: 'Your API key', exact: true }).waitFor()
  const key = await page.getByLabel('API key', { exact: true }).inputValue()
  assert.notEqual(key, own.api_key_value)
  await page.getByText('The key works.').waitFor()
  assert.equal(await dataPlane(service, key), 200)
  await assertAccessible(page)
  await keepScreenshot(page, 'manage-replaced')
  await page.getByRole('button', { name: 'Copy the API key' }).click()

  await page.getByRole('button', { name: 'Delete the key…' }).click()
  await page.getByRole('button', { name: 'Delete the key', exact: true }).click()
  await status(page, 'deleted')
  assert.equal(await dataPlane(service, key), 403)
  assert.ok(!(await page.locator('#actions').isVisible()))
  assert.equal(new URL(page.url()).search, '', 'no secret in the URL')
})

test('a wrong management token is explained at its field, as the service says', async (t) => {
  const { service, own, page } = await openOwn(t)
  const says = (text: string) => page.locator('#problem').getByText(text).waitFor()
  const { token } = own.management
  const other = await registered(service)
  for (const [entered, text] of [
    ['', 'Enter the management token that came with the API key.'],
    ['fkb_x', 'This is a bootstrap token. Enter a management token'],
    [`${token.slice(0, -1)}${token.endsWith('a') ? 'b' : 'a'}`, 'its checksum does not match.'],
    [token.slice(0, -3), '38 letters and digits.'],
    [other.management.token, 'There is no such registration.'],
  ] as const) {
    await show(page, entered)
    await says(text)
  }
  await assertAccessible(page)
  await show(page, `Bearer ${token}`)
  await status(page, 'active')
})

test('a lost response to a rotation costs no second key', async (t) => {
  const { service, own, page } = await openOwn(t)
  let requests = 0
  await page.route('**/rotate', async (route) => {
    requests += 1
    const answer = await route.fetch()
    if (requests === 1) await route.abort('connectionreset')
    else await route.fulfill({ response: answer })
  })
  await show(page, own.management.token)
  await page.getByRole('button', { name: 'Get a new key…' }).click()
  await page.getByRole('button', { name: 'Get a new key', exact: true }).click()
  await page.getByRole('heading', { name: 'Your API key', exact: true }).waitFor()
  assert.equal(requests, 2)
  assert.equal(service.gateway.account.keys.size, 2, 'the present key and the new one')
})

for (const colorScheme of ['light', 'dark'] as const)
  test(`at 320 px, ${colorScheme}: the management page and the page of an error fit and are readable`, async (t) => {
    const options = { viewport: { width: 320, height: 640 }, colorScheme }
    const { service, own, page } = await openOwn(t, options)
    await show(page, own.management.token)
    await status(page, 'active')
    await assertFits(page)
    await assertAccessible(page)
    await keepScreenshot(page, `manage-320-${colorScheme}`)
    const lost = await openPage(t, `${service.url}/nowhere`, options)
    await lost.getByRole('heading', { name: 'Nothing exists at this path' }).waitFor()
    await assertFits(lost)
    await assertAccessible(lost)
    await keepScreenshot(lost, `error-320-${colorScheme}`)
  })

test('without JavaScript the page of a management URL shows the commands', async (t) => {
  const { page } = await openOwn(t, { javaScriptEnabled: false })
  await page.getByText('The form needs JavaScript').waitFor()
  await page.getByText('curl -X DELETE http').first().waitFor()
})
