import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { describeLimits } from '../../src/pages/limits.ts'
import { readProblem } from '../support/problem.ts'
import { startService } from '../support/service.ts'

const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'

const get = (url: string, accept?: string) => fetch(url, { headers: accept === undefined ? {} : { accept } })

test('/ is a page for a browser, and the text of /llms.txt for all other clients', async (t) => {
  const { url } = await startService(t)
  const page = await get(`${url}/`, BROWSER)
  assert.match(page.headers.get('content-type') ?? '', /^text\/html/)
  assert.match(await page.text(), /<h1>Get an API key<\/h1>/)
  const guide = await (await get(`${url}/llms.txt`)).text()
  for (const accept of [undefined, '*/*', 'text/plain', 'text/markdown, text/plain;q=0.5']) {
    const answer = await get(`${url}/`, accept)
    assert.match(answer.headers.get('content-type') ?? '', /^text\/plain/, String(accept))
    assert.match(answer.headers.get('link') ?? '', /rel="api-catalog"/)
    assert.equal(answer.headers.get('vary'), 'Accept')
    assert.equal(await answer.text(), guide)
  }
})

test('/ is the API catalog for a client that prefers JSON, by the rules of RFC 9110, section 12.5.1', async (t) => {
  const { url } = await startService(t)
  const catalog = await (await get(`${url}/.well-known/api-catalog`)).json()
  for (const accept of [
    'application/json',
    'application/json, text/plain, */*', // axios
    'application/*;q=0.9, text/html;q=0.8',
    'application/linkset+json',
    'text/html;q=0, application/json;q=0.1',
  ]) {
    const answer = await get(`${url}/`, accept)
    assert.match(answer.headers.get('content-type') ?? '', /^application\/(linkset\+)?json/, accept)
    assert.match(answer.headers.get('link') ?? '', /rel="api-catalog"/)
    assert.deepEqual(await answer.json(), catalog)
  }
})

test('pages have a strict content security policy, and no inline script or style', async (t) => {
  const { url } = await startService(t)
  for (const path of ['/', '/docs', '/problems/invalid_token', '/register/reg_x', '/nowhere']) {
    const answer = await get(url + path, BROWSER)
    const policy = answer.headers.get('content-security-policy') ?? ''
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/)
    assert.doesNotMatch(policy, /unsafe|http|\*/)
    assert.match(policy, /frame-ancestors 'none'/)
    assert.equal(answer.headers.get('referrer-policy'), 'no-referrer')
    const html = await answer.text()
    assert.doesNotMatch(html, /<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|<iframe/i)
    for (const [, source = ''] of html.matchAll(/(?:src|stylesheet" href|icon"[^>]* href)="([^"]+)"/g))
      assert.equal((await get(url + source)).status, 200, source)
  }
})

test('the assets of the pages are served by name, and no other file is', async (t) => {
  const { url } = await startService(t)
  const names = readdirSync(join(import.meta.dirname, '../../src/pages/assets'))
  for (const name of names) {
    const answer = await get(`${url}/assets/${name}`)
    assert.equal(answer.status, 200, name)
    assert.match(answer.headers.get('content-type') ?? '', /^(text\/(css|javascript)|image\/svg\+xml)/)
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff')
  }
  for (const name of ['', 'layout.ts', '..%2flayout.ts', '..%2f..%2f..%2fpackage.json', '__proto__'])
    assert.equal((await readProblem(await get(`${url}/assets/${name}`))).code, 'not_found', name)
})

test('a page shows the limits from API Gateway, and many page views read each plan only once', async (t) => {
  const { url, gateway } = await startService(t)
  const text = async () => (await get(`${url}/`, BROWSER)).text()
  const pages = await Promise.all(Array.from({ length: 20 }, text))
  for (const page of pages)
    assert.match(page, /5 requests a second, and up to 10 at once; 1,000 requests a day\./)
  assert.equal(gateway.answers['GetUsagePlan']?.[200], 2, 'one for each plan')
})

test('limits are described in words', () => {
  const none = { ratePerSecond: null, burst: null, quota: null }
  assert.equal(describeLimits(null), 'Limits are not available right now.')
  assert.equal(describeLimits(none), 'The plan sets no limit.')
  assert.equal(describeLimits({ ...none, ratePerSecond: 1 }), '1 request a second.')
  assert.equal(
    describeLimits({ ratePerSecond: 0.5, burst: 5, quota: { limit: 10_000, period: 'MONTH' } }),
    '0.5 requests a second, and up to 5 at once; 10,000 requests a month.',
  )
})
