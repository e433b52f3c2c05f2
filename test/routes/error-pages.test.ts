import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type RequestOptions, request } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSecret } from '../../src/auth/token-format.ts'
import { problemStatus } from '../../src/http/problem.ts'
import { readProblem } from '../support/problem.ts'
import { manage, registered, startService } from '../support/service.ts'

const CHROME =
  'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7'
const FIREFOX = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'

/** Sends a request as it is: `fetch` would correct a path and add headers. */
async function ask(url: string, path: string, options: RequestOptions = {}, body = '') {
  const { hostname, port } = new URL(url)
  const sent = request({ hostname, port, path, agent: false, ...options })
  sent.end(body)
  const [answer] = await once(sent, 'response')
  return { status: answer.statusCode, headers: answer.headers, body: await text(answer) }
}

test('every error is a page for a browser and a problem document for all others, with the same status and headers', async (t) => {
  const service = await startService(t, { env: { PUBLIC_URL: 'https://keys.example.com/prod' } })
  const { url } = service
  const { secret } = await service.token({ plans: ['free'], maxUses: 1 })
  const own = await registered(service, {}, {}, secret)
  const json = { 'content-type': 'application/json' }
  const bearer = (token: string) => ({ authorization: `Bearer ${token}`, ...json })
  const post = { method: 'POST' }
  const cases: [status: number, code: string, path: string, options?: RequestOptions, body?: string][] = [
    [404, 'not_found', '/nowhere'],
    [404, 'not_found', '/problems/nothing'],
    [404, 'not_found', '/%zz'],
    [404, 'not_found', `/register/${'x'.repeat(300)}`],
    [405, 'method_not_allowed', '/register'],
    [405, 'method_not_allowed', '/connect/register'],
    [405, 'method_not_allowed', '/', { method: 'DELETE' }],
    [401, 'missing_token', '/register', post],
    [401, 'missing_token', `/register/${own.registration_id}`, { method: 'DELETE' }],
    [401, 'invalid_token', '/register', { ...post, headers: bearer('fkb_x') }],
    [401, 'missing_token', '/connect/register', post],
    [401, 'missing_token', `/connect/register/${own.registration_id}`, { method: 'DELETE' }],
    [403, 'token_exhausted', '/register', { ...post, headers: bearer(secret) }, '{"name":"b"}'],
    [
      403,
      'plan_not_allowed',
      '/register',
      { ...post, headers: bearer(secret) },
      '{"name":"b","plan":"gold"}',
    ],
    [400, 'invalid_request', '/register', { ...post, headers: bearer(secret) }, '{"name":"<b>&\'""}'],
    [413, 'payload_too_large', '/register', { ...post, headers: bearer(secret) }, `"${'x'.repeat(17_000)}"`],
    [
      415,
      'unsupported_media_type',
      '/register',
      { ...post, headers: { ...bearer(secret), 'content-type': 'text/csv' } },
      'a,b',
    ],
  ]
  await manage(service, own, 'GET') // The key counts as received, so that the token is used up for good.
  for (const [status, code, path, options = {}, body] of cases) {
    const title = `${options.method ?? 'GET'} ${path.slice(0, 60)} ${code}`
    const withAccept = (accept: string) => ({ ...options, headers: { ...options.headers, accept } })
    const problem = await ask(url, path, withAccept('*/*'), body)
    for (const accept of [
      CHROME,
      FIREFOX,
      'text/html',
      'text/html; charset=utf-8',
      'application/xhtml+xml,text/html;level=1',
      'application/json;q=0.1,text/html;q=0.9',
    ]) {
      const page = await ask(url, path, withAccept(accept), body)
      assert.equal(page.status, status, title)
      assert.equal(page.headers['content-type'], 'text/html; charset=utf-8', title)
      assert.match(String(page.headers['content-security-policy']), /^default-src 'none'/)
      assert.equal(page.headers['x-content-type-options'], 'nosniff')
      for (const name of ['www-authenticate', 'allow', 'retry-after', 'link', 'vary', 'cache-control'])
        assert.equal(page.headers[name], problem.headers[name], `${title}: ${name}`)
      assert.ok(page.body.includes(`<code>${code}</code>`), title)
      assert.ok(page.body.includes(`<code>${page.headers['x-request-id']}</code>`), 'the request id')
      assert.ok(page.body.includes('href="/prod/assets/style.css"'), 'links are below the path of PUBLIC_URL')
    }
    for (const accept of [
      '*/*',
      'application/json',
      'application/problem+json',
      'text/plain',
      `${FIREFOX},${'x'.repeat(2_000)}`,
      'text/html;q=0.5,application/json',
    ]) {
      const answer = await ask(url, path, withAccept(accept), body)
      assert.equal(answer.status, status, title)
      assert.match(
        String(answer.headers['content-type']),
        /^application\/(problem\+)?json/,
        `${title} ${accept.slice(0, 40)}`,
      )
      assert.equal(JSON.parse(answer.body).code, code, title)
    }
    if (path !== '/%zz' && path.length < 200)
      assert.match(String(problem.headers['vary']), /\bAccept\b/, title)
  }
})

test('the page of an error escapes what the request put into it, and says when to come back', async (t) => {
  const service = await startService(t, { env: { RATE_LIMIT_PER_IP: '3' } })
  const accept = { accept: CHROME }
  const { secret } = await service.token({ namePrefix: '<b id="x">&' })
  const refused = await service.register(secret, { name: 'other' }, accept)
  const page = await refused.text()
  assert.equal(refused.status, problemStatus.name_not_allowed)
  assert.ok(!page.includes('<b id="x">'))
  assert.match(page, /The name must start with &#34;&#60;b id&#61;/)
  const gone = await fetch(`${service.url}/register/${encodeURIComponent('"><script>alert(1)</script>')}`, {
    headers: accept,
  })
  assert.ok(!(await gone.text()).includes('<script>'))
  await fetch(service.url)
  const limited = await fetch(service.url, { headers: accept })
  assert.equal(limited.status, 429)
  const seconds = limited.headers.get('retry-after')
  assert.match(await limited.text(), RegExp(`Wait ${seconds} seconds?, then load this page again`))
  assert.equal((await fetch(`${service.url}/assets/style.css`)).status, 200, 'the page has its style')
})

test('a browser whose cookies are too large gets a page, and other clients a problem document', async (t) => {
  const { url } = await startService(t)
  const { hostname, port } = new URL(url)
  const send = async (accept: string, packets: readonly string[]) => {
    const socket = connect(Number(port), hostname)
    socket.setNoDelay()
    socket.write(`GET / HTTP/1.1\r\nHost: x\r\nAccept: ${accept}\r\n`)
    for (const packet of packets) {
      await sleep(10) // So that the service reads them apart.
      socket.write(packet)
    }
    return text(socket)
  }
  const cookie = `Cookie: ${'c'.repeat(20_000)}\r\n\r\n`
  for (const packets of [[cookie], [cookie.slice(0, 5), cookie.slice(5, 9_000), cookie.slice(9_000)]]) {
    for (const accept of [CHROME, 'text/html;q=0.9,application/json;q=0.1', 'text/html; charset=utf-8']) {
      const page = await send(accept, packets)
      assert.match(page, /^HTTP\/1\.1 431 /)
      assert.match(page, /\r\ncontent-type: text\/html/)
      assert.match(page, /<!doctype html>/)
    }
    assert.match(await send('*/*', packets), /\r\ncontent-type: application\/problem\+json/)
  }
})

test('a management URL in a browser is a page, the same for an id that does not exist, and JSON for a token', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const path = `${service.url}/register/${own.registration_id}`
  const page = await fetch(path, { headers: { accept: CHROME } })
  assert.equal(page.status, 200)
  assert.match(page.headers.get('content-type') ?? '', /^text\/html/)
  const html = await page.text()
  assert.match(html, /<h1>Manage your API key<\/h1>/)
  const other = await (
    await fetch(`${service.url}/register/reg_other`, { headers: { accept: CHROME } })
  ).text()
  assert.equal(other.replaceAll('reg_other', own.registration_id), html)

  const spoofed = await fetch(`${service.url}/register/call%20555%200199`, { headers: { accept: CHROME } })
  assert.equal(spoofed.status, 401)
  assert.ok(!(await spoofed.text()).includes('0199'))
  // What else people open: the usage, and the URL that an OAuth client was given.
  for (const url of [`${path}/usage`, path.replace('/register/', '/connect/register/')]) {
    const answer = await fetch(url, { headers: { accept: CHROME } })
    assert.equal(answer.headers.get('vary'), 'Accept, Authorization')
    assert.equal(await answer.text(), html)
    assert.equal((await fetch(url)).status, 401)
  }

  for (const accept of [CHROME, '*/*']) {
    const read = await manage(service, own, 'GET', '', undefined, { accept })
    assert.equal(read.status, 200)
    assert.match(read.headers.get('content-type') ?? '', /^application\/json/)
  }
  const refused = await fetch(path, { headers: { accept: 'application/json' } })
  assert.equal((await readProblem(refused)).code, 'missing_token')
  const wrong = await fetch(path, {
    headers: { accept: CHROME, authorization: `Bearer ${createSecret('fkm_')}` },
  })
  assert.equal(wrong.status, 401)
  assert.match(await wrong.text(), /<h1>The token is not valid<\/h1>/)
})
