// Takes docs/images/page.png, the screenshot in the README: node docs/images/page.mjs [URL of a running npm run demo]
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const WIDTH = 1_000
const MARGIN = 40
const [url = 'http://localhost:3000/'] = process.argv.slice(2)

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox'],
})
try {
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 800 }, colorScheme: 'light' })
  await page.goto(url)
  await page.fill('#token', `fkb_${'0'.repeat(38)}`) // The browser shows it as dots.
  await page.fill('#name', 'acme-agent')
  await page.locator('#name').blur()
  const form = await page.locator('form').boundingBox()
  if (form === null) throw new Error(`${url} shows no form`)
  const clip = { x: 0, y: 0, width: WIDTH, height: Math.ceil(form.y + form.height) + MARGIN }
  await page.screenshot({ path: join(import.meta.dirname, 'page.png'), fullPage: true, clip })
} finally {
  await browser.close()
}
