import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, type TestContext } from 'node:test'
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { launchChromium } from './launch.ts'

/** The folder with the screenshots of the last run. */
const SCREENSHOTS = join(import.meta.dirname, '../../../test-results/screenshots')

let browser: Browser

before(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true })
  browser = await launchChromium()
})
after(() => browser?.close())

/**
 * Opens a page in a browser context of its own, which closes at the end of the test. The test fails if the page sends a
 * request to another host, breaks its own Content-Security-Policy or throws.
 * @param others the origins to which requests are sent besides
 */
export async function openPage(
  t: TestContext,
  url: string,
  options: BrowserContextOptions = {},
  others: readonly string[] = [],
): Promise<Page> {
  const context = await browser.newContext({
    viewport: { width: 1_000, height: 800 },
    permissions: ['clipboard-read', 'clipboard-write'],
    ...options,
  })
  const page = await context.newPage()
  page.setDefaultTimeout(15_000)
  const faults: string[] = []
  page.on('request', (request) => {
    const { origin } = new URL(request.url())
    if (origin !== new URL(url).origin && !others.includes(origin)) faults.push(`requests ${request.url()}`)
  })
  page.on('pageerror', (error) => faults.push(`throws ${error.message}`))
  page.on('console', (message) => {
    // The console also reports responses with an error status.
    if (message.type() === 'error' && !/^Failed to load resource/.test(message.text()))
      faults.push(`logs ${message.text()}`)
  })
  t.after(async () => {
    await context.close()
    assert.deepEqual(faults, [])
  })
  await page.goto(url)
  return page
}

/** Saves a screenshot of the whole page as `test-results/screenshots/NAME.png`. */
export async function keepScreenshot(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true })
}

/** Checks the page against the rules of axe-core: WCAG 2.2 A and AA, and its best practices. */
export async function assertAccessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze()
  const found = violations.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target }) => target).join(' ')}`,
  )
  assert.deepEqual(found, [])
}

/** Asserts that nothing is wider than the window, so that no sideways scrolling is needed. */
export async function assertFits(page: Page): Promise<void> {
  const content = await page.evaluate<number>('document.documentElement.scrollWidth')
  const window = await page.evaluate<number>('document.documentElement.clientWidth')
  assert.ok(content <= window, `${content} px in a window of ${window} px`)
}

/** Asserts that an element is inside the window without scrolling. */
export async function assertInView(page: Page, selector: string): Promise<void> {
  const box = await page.locator(selector).boundingBox()
  const { height = 0 } = page.viewportSize() ?? {}
  assert.ok(
    box !== null && box.y >= 0 && box.y + box.height <= height,
    `${selector} at ${JSON.stringify(box)}`,
  )
}
