import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { launchChromium } from '../support/chromium/launch.ts'
import { assertAccessible, assertFits, keepScreenshot } from '../support/chromium/window.ts'
import { startLoginService } from '../support/identity/login.ts'
import { fetchScript } from '../support/register-script.ts'
import { dataPlane, tempDir } from '../support/service.ts'

test('a person logs in with the browser, and register.mjs prints the key', async (t) => {
  const service = await startLoginService(t)
  const script = await fetchScript(t, service)
  const browser = await launchChromium()
  t.after(() => browser.close())
  const bin = tempDir(t)
  writeFileSync(join(bin, 'xdg-open'), '#!/bin/sh\n', { mode: 0o755 })
  const env = { PATH: `${bin}:${process.env['PATH']}`, DISPLAY: ':0' }
  const running = script.start(['--login', '--name', 'acme-agent'], env)
  const [address] = await running.seen(/http:\S+\/connect\/authorize\S+(?=\s)/)

  const context = await browser.newContext({ viewport: { width: 360, height: 640 } })
  const page = await context.newPage()
  page.setDefaultTimeout(30_000)
  await page.goto(address)
  await page.getByLabel('Login').fill('alice')
  await page.getByLabel('Password').fill('correct horse')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('button', { name: 'Allow' }).click()
  await page.getByRole('heading', { name: 'You are logged in' }).waitFor()
  assert.match(page.url(), /^http:\/\/127\.0\.0\.1:\d+\/callback\?/)
  await assertFits(page)
  await assertAccessible(page)
  await keepScreenshot(page, 'script-logged-in')

  const { code, stdout, stderr } = await running.ended()
  assert.equal(code, 0, stderr)
  const [, value = ''] = stdout.match(/^api_key_value=(\w+)$/m) ?? []
  assert.equal(await dataPlane(service, value), 200)
})
