import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { createSecret } from '../../src/auth/token-format.ts'
import { type Hops, startBehind, WIRINGS } from '../support/behind-gateway.ts'
import type { FrontOptions } from '../support/gateway-fronts.ts'
import { startFederated } from '../support/identity/federated.ts'
import { startGitHubActions } from '../support/identity/github-actions.ts'
import { readProblem } from '../support/problem.ts'
import { fetchScript } from '../support/register-script.ts'
import { dataPlane, manage, registered, startService } from '../support/service.ts'

/** The gateway in front of the public path, and what it sends on. */
const PATHS: readonly [hops: Hops, paths: FrontOptions][] = [
  [['rest-api', 'alb'], {}],
  [['rest-api'], { sentPath: '' }],
  [['rest-api'], { publicPath: '', sentPath: '' }],
  // A domain of its own in front of a private integration.
  [['rest-api', 'alb'], { publicPath: '', sentPath: '/prod' }],
  [['http-api', 'alb'], { publicPath: '/keys', sentPath: '/prod' }],
  [['http-api', 'alb'], {}],
  [['http-api'], { sentPath: '' }],
  [['http-api'], { publicPath: '/keys', sentPath: '' }],
]

for (const [hops, paths] of PATHS)
  test(`behind ${hops.join(' and ')} with ${JSON.stringify(paths)} every route works`, async (t) => {
    const { publicPath, sentPath = publicPath } = paths
    const stage = publicPath === sentPath ? '' : (sentPath?.slice(1) ?? '')
    const more = { CORS_ORIGINS: 'https://app.example.com', GATEWAY_STAGE: stage }
    const service = await startBehind(t, hops, (env) => startService(t, { env: { ...env, ...more } }), paths)
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

/** The headers that a caller sends to pass for somebody else. */
const FORGED: readonly Record<string, string>[] = [
  {},
  { 'x-forwarded-for': '198.51.100.1' },
  { 'x-forwarded-for': '198.51.100.1, 198.51.100.2:443, unknown' },
  { forwarded: 'for=198.51.100.1' },
  { forwarded: 'for="[2001:db8::1]:80";proto=https, for=198.51.100.1', 'x-forwarded-for': '198.51.100.9' },
  { forwarded: 'for="198.51.100.1', 'x-forwarded-for': '",' },
]

test('the document has each of the wirings that are tried here', () => {
  const document = readFileSync(join(import.meta.dirname, '../../docs/for-operators.md'), 'utf8')
  const rows = document
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim().replaceAll('`', '')))
    .filter(([, , , count = '']) => /^\d$/.test(count))
    .map(([, name, , count, header]) => [name, count, header])
  assert.deepEqual(
    rows,
    WIRINGS.map(({ name, trustProxy, header }) => [name, trustProxy, header]),
  )
})

for (const { hops, trustProxy, header } of WIRINGS)
  for (const hasPorts of hops.includes('alb') ? [false, true] : [false])
    test(`behind ${hops.join(', ')}${hasPorts ? ' with ports' : ''} the caller is known with TRUST_PROXY=${trustProxy} and ${header}`, async (t) => {
      const limit = { RATE_LIMIT_PER_IP: String(FORGED.length) }
      const service = await startBehind(t, hops, (env) => startService(t, { env: { ...env, ...limit } }), {
        hasPorts,
      })
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

const ENDS: readonly [hops: Hops, status: number, message: string][] = [
  [['rest-api', 'alb'], 504, 'Endpoint request timed out'],
  [['http-api', 'alb'], 503, 'Service Unavailable'],
]

describe('limits and clients', { concurrency: 4 }, () => {
  for (const [hops, status, message] of ENDS) {
    test(`behind ${hops.join(' and ')} a registration that the gateway ends is repeated, and makes one key`, async (t) => {
      const service = await startBehind(
        t,
        hops,
        (env) => startService(t, { env, gateway: { latency: { CreateApiKey: 2_000 } } }),
        { timeoutMs: 1_000 },
      )
      const { secret } = await service.token({ maxUses: 1 })
      const headers = { 'idempotency-key': 'b'.repeat(36) }
      const ended = await service.register(secret, undefined, headers)
      assert.deepEqual([ended.status, await ended.json()], [status, { message }])
      let answer = ended
      while (answer.status !== 201) {
        answer = await service.register(secret, undefined, headers)
        assert.ok(answer.status === 201 || answer.status === status || answer.status === 409)
      }
      const { api_key_value } = (await answer.json()) as { api_key_value: string }
      assert.equal(await dataPlane(service, api_key_value), 200)
      assert.equal(service.gateway.account.keys.size, 1)
    })

    test(`behind ${hops.join(' and ')} the service answers before the gateway ends a request`, async (t) => {
      const service = await startBehind(t, hops, (env) =>
        startService(t, {
          env: { ...env, REGISTER_TIMEOUT_MS: '3000' },
          gateway: { propagationMs: 600_000 },
        }),
      )
      const { secret } = await service.token()
      const waited = await service.register(secret, undefined, { prefer: 'wait=600' })
      assert.deepEqual([waited.status, ((await waited.json()) as { ready: boolean }).ready], [201, false])
      service.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'hang', times: 99 })
      const hung = await service.register(secret)
      assert.deepEqual([hung.status, (await readProblem(hung)).code], [503, 'upstream_unavailable'])
      assert.ok(Number(hung.headers.get('retry-after')) > 0)
    })

    test(`behind ${hops.join(' and ')} what is too large is refused by the service or by the gateway`, async (t) => {
      const service = await startBehind(t, hops, (env) => startService(t, { env }))
      const { secret } = await service.token()
      const large = await service.register(secret, { name: 'a', description: 'x'.repeat(1_000_000) })
      assert.equal((await readProblem(large)).code, 'payload_too_large')
      const larger = await service.register(secret, { name: 'a', description: 'x'.repeat(11_000_000) })
      assert.deepEqual([larger.status, await larger.json()], [413, { message: 'Request Too Long' }])
      const many = await service.register(secret, undefined, { 'x-many': 'x'.repeat(9_000) })
      assert.equal(many.status, 201)
      const more = await service.register(secret, undefined, { 'x-many': 'x'.repeat(11_000) })
      assert.equal(more.status, 431)
    })

    test(`behind ${hops.join(' and ')} register.mjs registers with a token and with an identity token`, async (t) => {
      const service = await startBehind(t, hops, (env) => startFederated(t, { env }))
      const script = await fetchScript(t, service)
      const { secret } = await service.token()
      const actions = await startGitHubActions(t, service.issuer)
      actions.claims = { team: 'agents' }
      for (const env of [{ FIRSTKEY_TOKEN: secret }, actions.env]) {
        // Its own address: the one that the service wrote into it.
        const { code, stdout, stderr } = await script.run(['--name', 'acme-agent'], {
          FIRSTKEY_URL: '',
          ...env,
        })
        assert.equal(code, 0, stderr)
        assert.equal(await dataPlane(service, stdout.match(/^api_key_value=(\w+)$/m)?.[1] ?? ''), 200)
      }
      const refused = await script.run(['--name', 'acme-agent'], { FIRSTKEY_TOKEN: createSecret('fkb_') })
      assert.match(refused.stderr, /invalid_token/)
    })
  }
})
