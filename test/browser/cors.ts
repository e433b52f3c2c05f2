import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { launchChromium } from '../support/chromium/launch.ts'
import { dataPlane, startService } from '../support/service.ts'

/** Serves an empty page, on a port of its own: its origin is another than that of the service. */
async function startPage(t: TestContext): Promise<string> {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html').end('<!doctype html><title>app</title>')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** The life of a registration, as a page writes it. It runs in the browser. */
const LIFE = `async ({ url, token, key }) => {
  const send = async (method, target, bearer, body, headers = {}) => {
    const response = await fetch(target, {
      method,
      headers: { authorization: 'Bearer ' + bearer, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, headers: Object.fromEntries(response.headers), body: text && JSON.parse(text) }
  }
  const made = await send('POST', url + '/register', token, { name: 'acme-agent' }, { 'idempotency-key': key, prefer: 'wait=5' })
  const { management, api_key_value, registration_id } = made.body
  const own = url + '/register/' + registration_id
  const read = await send('GET', own, management.token)
  const rotated = await send('POST', own + '/rotate', management.token, {}, { 'idempotency-key': key + 'r' })
  const usage = await send('GET', own + '/usage', management.token)
  const deleted = await send('DELETE', own, management.token)
  const refused = await send('POST', url + '/register', 'nonsense', { name: 'a' })
  return { made, read, rotated, usage, deleted, refused, api_key_value }
}`

test('a page of a listed origin registers, reads, rotates and deletes; a page of another origin reads nothing', async (t) => {
  const [listed, other] = [await startPage(t), await startPage(t)]
  const service = await startService(t, { env: { CORS_ORIGINS: listed, API_PROBE_PATH: '/probe' } })
  const browser = await launchChromium()
  t.after(() => browser.close())
  const run = async (origin: string) => {
    const page = await browser.newPage()
    await page.goto(origin)
    const { secret } = await service.token()
    const input = JSON.stringify({ url: service.url, token: secret, key: randomUUID() })
    return page.evaluate<Record<string, { status: number; headers: Record<string, string>; body: unknown }>>(
      `(${LIFE})(${input})`,
    )
  }
  const life = await run(listed)
  const statuses = ['made', 'read', 'rotated', 'usage', 'deleted', 'refused'].map(
    (step) => life[step]?.status,
  )
  assert.deepEqual(statuses, [201, 200, 201, 200, 204, 401])
  for (const name of ['location', 'x-request-id', 'preference-applied'])
    assert.ok(life['made']?.headers[name], `the page reads ${name}`)
  assert.match(life['refused']?.headers['link'] ?? '', /oauth-protected-resource/)
  assert.equal(await dataPlane(service, String(life['api_key_value'])), 403)
  const registrations = async () => {
    await service.deps.deliveries.flush()
    return service.deps.store.listRegistrations({ limit: 9 })
  }
  const before = await registrations()
  await assert.rejects(run(other), /Failed to fetch/)
  assert.deepEqual(await registrations(), before, 'the preflight was refused')
})
