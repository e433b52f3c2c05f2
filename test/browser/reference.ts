import assert from 'node:assert/strict'
import { test } from 'node:test'
import { assertAccessible, assertFits, keepScreenshot, openPage } from '../support/chromium/window.ts'
import { startService } from '../support/service.ts'

test('/docs lists every operation of the OpenAPI document, with a link to each', async (t) => {
  const { url, app } = await startService(t)
  const page = await openPage(t, `${url}/docs`)
  const paths = Object.entries(app.swagger().paths ?? {})
  const operations = paths.flatMap(([path, item]) =>
    Object.keys(item ?? {}).map((method) => `${method.toUpperCase()} ${path}`),
  )
  assert.ok(operations.length > 15)
  for (const name of operations) {
    await page.getByRole('heading', { name, exact: true }).waitFor()
    await page.getByRole('link', { name, exact: true }).waitFor()
  }
  await page.getByRole('link', { name: 'POST /register', exact: true }).click()
  const section = page.getByRole('region', { name: 'POST /register', exact: true })
  await section.waitFor()
  for (const text of ['idempotency-key', 'api_key_value', 'management.token', 'token_exhausted'])
    await section.getByText(text, { exact: true }).first().waitFor()
  await section.getByRole('link', { name: 'token_exhausted' }).click()
  await page.getByRole('heading', { name: 'The bootstrap token has no uses left' }).waitFor()
})

for (const [name, path] of [
  ['docs', '/docs'],
  ['problem', '/problems/token_exhausted'],
] as const)
  for (const colorScheme of ['light', 'dark'] as const)
    test(`${path} is readable in a wide window and at 320 px, ${colorScheme}`, async (t) => {
      const { url } = await startService(t)
      const isWide = colorScheme === 'light'
      for (const width of [1_000, 320]) {
        const page = await openPage(t, url + path, { viewport: { width, height: 800 }, colorScheme })
        await assertFits(page)
        // On a long page the axe rules take seconds, so they check each width in one colour scheme only.
        if (width > 320 === isWide) await assertAccessible(page)
        await keepScreenshot(page, `${name}-${width}-${colorScheme}`)
      }
    })
