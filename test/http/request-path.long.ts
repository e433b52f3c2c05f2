import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { ownPaths } from '../../src/config.ts'
import { readProblem } from '../support/problem.ts'
import { manage, registered, startService } from '../support/service.ts'

/** Sends a request with this target as it stands, which fetch would correct. Returns the status. */
async function statusOf(url: string, target: string, method = 'GET', headers = ''): Promise<number> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.write(
    `${method} ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${headers}content-length: 0\r\n\r\n`,
  )
  const [data] = await once(socket, 'data')
  socket.destroy()
  return Number(String(data).split(' ', 2)[1])
}

const cases: [publicUrl: string, served: string[], unknown: string[], stage?: string][] = [
  [
    'https://keys.example.com',
    [
      '/livez',
      '//livez',
      '/livez/',
      '/livez//',
      '///livez?a=//b',
      'http://keys.example.com/livez',
      'HTTP://x:80//livez',
      '/',
      '//',
      'http://x',
      'http://x?a',
    ],
    ['/prod/livez', '/prod', 'ftp://x/livez', '/http://x/livez'],
  ],
  [
    'https://abc123.execute-api.eu-west-1.amazonaws.com/prod/',
    [
      '/livez',
      '/prod/livez',
      '/prod//livez',
      '//prod//livez//',
      '/prod',
      '/prod/',
      '/prod?a=b',
      '/prod/docs?a',
      'http://x/prod/livez',
      '/prod/assets/style.css',
    ],
    ['/production/livez', '/prodlivez', '/prod/prod/livez', '/PROD/livez', '/prod/nowhere', '/stage/livez'],
  ],
  [
    'https://keys.example.com/v1//prod',
    ['/livez', '/v1/prod/livez', '/prod/livez', '/v1/prod', '/prod/'],
    ['/v1/livez', '/v1', '/prod/v1/livez'],
  ],
  // A name of this service's own paths.
  [
    'https://keys.example.com/docs/prod',
    ['/livez', '/docs', '/docs/', '/docs/prod/livez', '/docs/prod/docs', '/prod/docs', '/prod'],
    ['/docs/nowhere', '/docs/livez'],
  ],
  // A domain of its own, in front of a stage that the gateway puts before the path.
  [
    'https://keys.example.com',
    ['/livez', '/prod/livez', '/prod', '/prod/', '//prod//livez', 'http://x/prod/livez', '/prod?a=b'],
    ['/prod/nowhere', '/prodlivez', '/prod/prod/livez', '/test/livez'],
    'prod',
  ],
  [
    'https://api.example.com/keys',
    ['/livez', '/keys/livez', '/prod/livez'],
    ['/prod/keys/livez', '/keys/prod/livez'],
    'prod',
  ],
  ['https://keys.example.com/ключи', ['/livez', '/%D0%BA%D0%BB%D1%8E%D1%87%D0%B8/livez'], ['/%D0%BA/livez']],
]

for (const [publicUrl, served, unknown, stage = ''] of cases)
  test(`at ${publicUrl} a path is served with the path of PUBLIC_URL, the end of it, the stage "${stage}", and without`, async (t) => {
    const { url } = await startService(t, { env: { PUBLIC_URL: publicUrl, GATEWAY_STAGE: stage } })
    for (const target of served) assert.equal(await statusOf(url, target), 200, target)
    for (const target of unknown) assert.equal(await statusOf(url, target), 404, target)
  })

test('no base path can end in a path of this service', async (t) => {
  const { app } = await startService(t)
  const routes = app.printRoutes({ commonPrefix: false })
  // In the tree, /register.mjs is below /register.
  const segments = [...routes.matchAll(/^│ {3}[├└]── ([^/ ]+)/gm)].map(([, segment = '']) => segment)
  assert.deepEqual([...new Set(segments), 'register.mjs'].sort(), [...ownPaths].sort())
})

test('below a stage a key is registered, managed and given back, and every URL begins with PUBLIC_URL', async (t) => {
  const PUBLIC_URL = 'https://keys.example.com/prod'
  const service = await startService(t, { env: { PUBLIC_URL } })
  for (const stage of ['', '/prod', '//prod/']) {
    const behind = { ...service, url: service.url + stage }
    const { secret } = await service.token()
    const answer = await fetch(`${behind.url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: '{"name":"acme-agent"}',
    })
    assert.equal(answer.status, 201)
    const location = answer.headers.get('location') ?? ''
    assert.match(location, /^https:\/\/keys\.example\.com\/prod\/register\/reg_\w+$/)
    const own = await registered(service)
    assert.equal(own.management.url, `${PUBLIC_URL}/register/${own.registration_id}`)
    assert.equal((await manage(behind, own, 'GET')).status, 200)
    assert.equal((await manage(behind, own, 'GET', '/usage?from=2026-11-23')).status, 200)
    assert.equal((await manage(behind, own, 'POST', '/rotate', {})).status, 201)
    assert.equal((await manage(behind, own, 'DELETE')).status, 204)
    const refused = await fetch(`${behind.url}/register`, { method: 'POST' })
    assert.match(
      refused.headers.get('www-authenticate') ?? '',
      RegExp(`resource_metadata="${PUBLIC_URL}/\\.well-known/`),
    )
    assert.equal((await readProblem(refused)).type, `${PUBLIC_URL}/problems/missing_token`)
    const wrong = await fetch(`${behind.url}/register`)
    assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'OPTIONS, POST'])
    const page = await (await fetch(`${behind.url}/`, { headers: { accept: 'text/html' } })).text()
    const links = [...page.matchAll(/ (?:href|src|data-register)="(\/[^"]*)"/g)].map(([, link = '']) => link)
    assert.ok(links.length > 5)
    for (const link of links) {
      assert.match(link, /^\/prod\//)
      if (link !== '/prod/register') assert.equal((await fetch(service.url + link)).status, 200, link)
    }
  }
})

test('a host and a path outside ASCII are in every answer as a URL in ASCII', async (t) => {
  const service = await startService(t, { env: { PUBLIC_URL: 'https://Ключи.example:443/Größe' } })
  const { secret } = await service.token()
  const answer = await service.register(secret)
  assert.equal(answer.status, 201)
  assert.match(
    answer.headers.get('location') ?? '',
    /^https:\/\/xn--h1add2c8a\.example\/Gr%C3%B6%C3%9Fe\/register\/reg_/,
  )
  for (const path of [
    '/',
    '/register',
    '/llms.txt',
    '/register.mjs',
    '/openapi.json',
    '/.well-known/api-catalog',
    '/problems/internal',
  ])
    for (const accept of ['text/html', 'application/json']) {
      const { status } = await fetch(service.url + path, { headers: { accept } })
      assert.equal(status, path === '/register' ? 405 : 200, path)
    }
  assert.equal((await fetch(`${service.url}/register`, { method: 'POST' })).status, 401)
})
