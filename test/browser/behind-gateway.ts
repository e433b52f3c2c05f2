import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Hops, startLoginBehind } from '../support/behind-gateway.ts'
import { assertAccessible, keepScreenshot, openPage } from '../support/chromium/window.ts'
import { trustOf } from '../support/identity/login.ts'
import { dataPlane, registered } from '../support/service.ts'

const FRONTS: readonly Hops[] = [
  ['rest-api', 'alb'],
  ['http-api', 'alb'],
]

for (const hops of FRONTS)
  test(`behind ${hops.join(' and ')} a person registers, manages the key, reads the pages and signs in`, async (t) => {
    const service = await startLoginBehind(t, hops, {
      trust: (issuer) => trustOf(issuer, {}, { on_repeat: 'add', max_live: 9 }),
    })
    const { secret } = await service.token()
    const page = await openPage(t, `${service.url}/`, {}, [
      new URL(service.url).origin,
      service.provider.issuer,
    ])
    const isStyled = () => page.evaluate<number>('document.styleSheets[0].cssRules.length')

    await page.getByLabel('Bootstrap token').fill(secret)
    await page.getByLabel('Name', { exact: true }).fill('acme-agent')
    await page.getByRole('button', { name: 'Get my key' }).click()
    await page.getByRole('heading', { name: 'Your API key' }).waitFor()
    await page.getByText('The key works.').waitFor()
    const key = await page.getByLabel('API key', { exact: true }).inputValue()
    assert.equal(await dataPlane(service, key), 200)
    await page.getByRole('button', { name: 'Copy the API key' }).click()
    await page.getByRole('button', { name: 'Copy the management token' }).click()

    for (const path of ['/docs', '/problems/token_exhausted', '/nowhere']) {
      await page.goto(service.url + path)
      assert.ok((await isStyled()) > 10, path)
      await assertAccessible(page)
    }
    await page.getByRole('link', { name: 'Get a key' }).click()
    await page.waitForURL(`${service.url}/`)

    const own = await registered(service, {}, {}, secret)
    await page.goto(own.management.url)
    await page.getByLabel('Management token').fill(own.management.token)
    await page.getByRole('button', { name: 'Show the registration' }).click()
    await page.getByRole('heading', { name: 'Your registration' }).waitFor()
    await page.getByRole('button', { name: 'Get a new key…' }).click()
    await page.getByRole('button', { name: 'Get a new key', exact: true }).click()
    await page.getByRole('heading', { name: 'Your API key', exact: true }).waitFor()
    const next = await page.getByLabel('API key', { exact: true }).inputValue()
    await page.getByRole('button', { name: 'Copy the API key' }).click()
    await page.getByRole('button', { name: 'Delete the key…' }).click()
    await page.getByRole('button', { name: 'Delete the key', exact: true }).click()
    await page.locator('#registration-details').getByText('deleted', { exact: true }).first().waitFor()
    assert.equal(await dataPlane(service, next), 403)

    await page.goto(`${service.url}/`)
    await page.getByRole('button', { name: 'Sign in with Example' }).click()
    await page.getByLabel('Login').fill('alice')
    await page.getByLabel('Password').fill('correct horse')
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('button', { name: 'Allow' }).click()
    await page.getByText('You are signed in with Example.').waitFor()
    assert.equal(page.url(), `${service.url}/`)
    await page.getByLabel('Name', { exact: true }).fill('alice-agent')
    await page.getByRole('button', { name: 'Get my key' }).click()
    await page.getByRole('heading', { name: 'Your API key' }).waitFor()
    await keepScreenshot(page, `behind-${hops[0]}`)
    assert.equal(
      await dataPlane(service, await page.getByLabel('API key', { exact: true }).inputValue()),
      200,
    )
    await page.getByRole('button', { name: 'Copy the API key' }).click()
    await page.getByRole('button', { name: 'Copy the management token' }).click()
  })
