import assert from 'node:assert/strict'
import type { Page } from 'playwright-core'

/** The Tab key on a page: what has the focus, by its id or its text, and the way to another element. */
export function tabKey(page: Page) {
  const focused = () =>
    page.evaluate<string>('document.activeElement.id || document.activeElement.textContent')
  const tabTo = async (wanted: string) => {
    for (let presses = 0; (await focused()) !== wanted; presses++) {
      assert.ok(presses < 20, `the Tab key reaches ${wanted}`)
      await page.keyboard.press('Tab')
    }
  }
  return { focused, tabTo }
}
