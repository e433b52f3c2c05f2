import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'
import { test } from 'node:test'
import { type Hops, startBehind, WIRINGS } from '../support/behind-gateway.ts'
import type { FrontOptions } from '../support/gateway-fronts.ts'
import { manage, registered } from '../support/service.ts'

/** The gateway in front of the public path, and what it sends on. */
const PATHS: readonly [hops: Hops, paths: FrontOptions][] = [
  [['rest-api', 'alb'], {}],
  [['rest-api'], { sentPath: '' }],
  [['rest-api'], { publicPath: '', sentPath: '' }],
  [['http-api', 'alb'], {}],
  [['http-api'], { sentPath: '' }],
  [['http-api'], { publicPath: '/keys', sentPath: '' }],
]

for (const [hops, paths] of PATHS)
  test(`behind ${hops.join(' and ')} with ${JSON.stringify(paths)} every route works`, async (t) => {
    const service = await startBehind(t, hops, { env: { CORS_ORIGINS: 'https://app.example.com' } }, paths)
    const own = await registered(service, {}, { prefer: 'wait=5', 'idempotency-key': 'a'.repeat(36) })
    assert.equal(own.management.url, `${service.url}/register/${own.registration_id}`)
    assert.equal((await manage(service, own, 'GET')).status, 200)
    assert.equal((await manage(service, own, 'GET', '/usage?from=2026-11-23&to=2026%2D11%2D24')).status, 200)
    // An empty body: an HTTP API adds a Content-Type.
    const rotated = await manage(service, own, 'POST', '/rotate')
    assert.equal(rotated.status, 201, await rotated.text())
    assert.equal((await manage(service, own, 'DELETE')).status, 204)

    for (const path of [
      '/',
      '/docs',
      '/problems/missing_token',
      '/llms.txt',
      '/openapi.json',
      '/register.mjs',
    ]) {
      for (const method of ['GET', 'HEAD']) {
        const headers = { accept: 'text/html' }
        const answer = await fetch(service.url + path, { method, headers })
        assert.equal(answer.status, 200, `${method} ${path}`)
        assert.equal((await answer.text()) === '', method === 'HEAD')
      }
    }
    for (const path of ['/.well-known/api-onboarding', '/.well-known/api-catalog', '/livez', '/readyz'])
      assert.equal((await fetch(service.url + path)).status, 200, path)
    const resource = `${service.url}/.well-known/oauth-protected-resource`
    const base = new URL(service.url).pathname.replace(/\/$/, '')
    for (const path of ['', '/register', '/connect/register']) {
      for (const form of new Set([path, base + path])) {
        const metadata = (await (await fetch(resource + form)).json()) as { resource: string }
        assert.equal(metadata.resource, service.url + path)
      }
    }

    const page = await (await fetch(`${service.url}/`, { headers: { accept: 'text/html' } })).text()
    const links = [...page.matchAll(/ (?:href|src)="(\/[^"]*)"/g)].map(([, link = '']) => link)
    assert.ok(links.length > 5)
    for (const link of links) assert.equal((await fetch(new URL(link, service.url))).status, 200, link)

    const refused = await fetch(`${service.url}/register`, { method: 'POST' })
    const problem = (await refused.json()) as { resource_metadata: string; type: string }
    assert.deepEqual(
      [refused.status, problem.resource_metadata, problem.type],
      [401, resource, `${service.url}/problems/missing_token`],
    )
    assert.ok(refused.headers.get('link')?.includes(resource), 'also where WWW-Authenticate is renamed')
    const challenge = refused.headers.get(
      hops[0] === 'rest-api' ? 'x-amzn-remapped-www-authenticate' : 'www-authenticate',
    )
    assert.ok(challenge?.includes(`resource_metadata="${resource}"`))
    const nowhere = await fetch(`${service.url}/nowhere`)
    assert.deepEqual([nowhere.status, ((await nowhere.json()) as { code: string }).code], [404, 'not_found'])
    const wrong = await fetch(`${service.url}/register`)
    assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'OPTIONS, POST'])
    const preflight = await fetch(`${service.url}/register`, {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example.com', 'access-control-request-method': 'POST' },
    })
    assert.equal(preflight.headers.get('access-control-allow-origin'), 'https://app.example.com')
    assert.equal(preflight.headers.get('access-control-allow-methods'), 'OPTIONS, POST')
  })

/** Sends a request from an address of this machine. */
async function sendFrom(
  localAddress: string,
  url: string,
  { method = 'GET', headers = {}, body = '' }: { method?: string; headers?: object; body?: string } = {},
): Promise<{ status: number; body: unknown }> {
  const sent = httpRequest(url.replace('localhost', '127.0.0.1'), {
    ...{ localAddress, method, agent: false },
    headers: { ...headers, 'content-length': String(body.length) },
  })
  sent.end(body)
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  return { status: answer.statusCode ?? 0, body: await json(answer) }
}

/** What a caller sends to pass for somebody else. */
const FORGED: readonly Record<string, string>[] = [
  {},
  { 'x-forwarded-for': '198.51.100.1' },
  { 'x-forwarded-for': '198.51.100.1, 198.51.100.2:443, unknown' },
  { forwarded: 'for=198.51.100.1' },
  { forwarded: 'for="[2001:db8::1]:80";proto=https, for=198.51.100.1', 'x-forwarded-for': '198.51.100.9' },
  { forwarded: 'for="198.51.100.1', 'x-forwarded-for': '",' },
]

for (const { hops, trustProxy, header } of WIRINGS)
  for (const hasPorts of hops.includes('alb') ? [false, true] : [false])
    test(`behind ${hops.join(', ')}${hasPorts ? ' with ports' : ''} the caller is known with TRUST_PROXY=${trustProxy} and ${header}`, async (t) => {
      const env = { RATE_LIMIT_PER_IP: String(FORGED.length) }
      const service = await startBehind(t, hops, { env }, { hasPorts })
      const { secret } = await service.token()
      for (const [i, forged] of FORGED.entries()) {
        const { status, body } = await sendFrom('127.0.0.2', `${service.url}/register`, {
          method: 'POST',
          headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...forged },
          body: JSON.stringify({ name: `agent-${i}` }),
        })
        assert.equal(status, 201, JSON.stringify(body))
      }
      const limited = await sendFrom('127.0.0.2', `${service.url}/nowhere`, {
        headers: { 'x-forwarded-for': '203.0.113.7', forwarded: 'for=203.0.113.7' },
      })
      assert.equal(limited.status, 429, 'a forged address is no way round the limit')
      assert.equal(
        (await sendFrom('127.0.0.3', `${service.url}/nowhere`)).status,
        404,
        'others are not limited',
      )
      const entries = await service.deps.store.listAudit({ limit: 50 })
      const addresses = entries.flatMap(({ actor }) => actor.clientAddress ?? [])
      assert.deepEqual([...new Set(addresses)], ['127.0.0.2'])
      assert.ok(addresses.length >= FORGED.length)
      const logged = service.logLines
        .filter((line) => line.includes('request completed'))
        .map((line) => JSON.parse(line).ip)
      assert.deepEqual([...new Set(logged)], ['127.0.0.2', '127.0.0.3'])
    })
