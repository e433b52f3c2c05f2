import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { responseHeaders } from '../../src/http/response-headers.ts'
import { long } from '../support/long.ts'
import { registered, type Service, startService } from '../support/service.ts'

const APP = 'https://app.example'
const LOCAL = 'http://localhost:5173'
/** Origins that are not listed, however close they come. */
const OTHERS = [
  undefined,
  'null',
  '*',
  '',
  'https://evil.example',
  'http://app.example',
  'https://app.example:8443',
  'https://app.example/',
  'https://APP.example',
  'https://app.example.evil.example',
  'https://evil.example?https://app.example',
  `${APP}, ${LOCAL}`,
]

const corsNames = (headers: Headers) =>
  [...headers.keys()].filter((name) => name.startsWith('access-control-')).sort()
const varies = (headers: Headers) => (headers.get('vary') ?? '').split(/, */)

/** A request to every kind of path, with the methods that the path supports, and the status without credentials. */
const requests: [method: string, path: string, status: number, allowed: RegExp][] = [
  ['POST', '/register', 401, /^OPTIONS, POST$/],
  ['POST', '/connect/register', 401, /^OPTIONS, POST$/],
  ['GET', '/register/reg_x', 401, /^DELETE, GET, HEAD, OPTIONS$/],
  ['DELETE', '/register/reg_x', 401, /^DELETE, GET, HEAD, OPTIONS$/],
  ['GET', '/register/reg_x/usage', 401, /^GET, HEAD, OPTIONS$/],
  ['POST', '/register/reg_x/rotate', 401, /^OPTIONS, POST$/],
  ['DELETE', '/connect/register/reg_x', 401, /^DELETE, GET, HEAD, OPTIONS$/],
  ['GET', '/openapi.json', 200, /^GET, HEAD, OPTIONS$/],
  ['GET', '/', 200, /^GET, HEAD, OPTIONS$/],
  ['GET', '/problems/not_found', 200, /^GET, HEAD, OPTIONS$/],
  ['GET', '/livez', 200, /^GET, HEAD, OPTIONS$/],
  ['PUT', '/register', 405, /^OPTIONS, POST$/],
]

const call = ({ url }: Service, method: string, path: string, headers: Record<string, string | undefined>) =>
  fetch(url + path, {
    method,
    headers: Object.fromEntries(
      Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
    ),
  })

test('without CORS_ORIGINS no response has a header of the CORS protocol', async (t) => {
  const service = await startService(t)
  for (const [method, path, status] of requests) {
    const answer = await call(service, method, path, { origin: APP })
    assert.equal(answer.status, status, path)
    assert.deepEqual(corsNames(answer.headers), [], path)
    assert.ok(!varies(answer.headers).includes('Origin'), path)
    const preflight = await call(service, 'OPTIONS', path, {
      origin: APP,
      'access-control-request-method': method,
    })
    assert.deepEqual(corsNames(preflight.headers), [], path)
  }
})

test('pages of listed origins may read every response, and other origins get no header of the protocol', async (t) => {
  const service = await startService(t, { env: { CORS_ORIGINS: `${APP}, ${LOCAL}` } })
  for (const [method, path, status] of [
    ...requests,
    ['GET', '/nowhere', 404],
    ['GET', '/%zz', 404],
  ] as const) {
    for (const origin of [APP, LOCAL]) {
      const answer = await call(service, method, path, { origin })
      assert.equal(answer.status, status, path)
      assert.equal(answer.headers.get('access-control-allow-origin'), origin, path)
      assert.deepEqual(corsNames(answer.headers), [
        'access-control-allow-origin',
        'access-control-expose-headers',
      ])
      assert.ok(varies(answer.headers).includes('Origin'), path)
    }
    for (const origin of OTHERS) {
      const answer = await call(service, method, path, { origin })
      assert.equal(answer.status, status, `${origin} ${path}`)
      assert.deepEqual(corsNames(answer.headers), [], `${origin} ${path}`)
      assert.ok(varies(answer.headers).includes('Origin'), `${origin} ${path}`)
    }
  }
  const negotiated = await call(service, 'GET', '/', { origin: APP, accept: 'text/html' })
  assert.deepEqual(varies(negotiated.headers), ['Accept', 'Origin'])
})

test('a preflight needs no token, is not counted, and returns the methods of the path and the headers that are read', async (t) => {
  const service = await startService(t, { env: { CORS_ORIGINS: APP, RATE_LIMIT_PER_IP: '2' } })
  for (const [method, path, , methods] of requests) {
    const answer = await call(service, 'OPTIONS', path, {
      origin: APP,
      'access-control-request-method': method,
      'access-control-request-headers': 'authorization,content-type,idempotency-key,prefer',
    })
    assert.equal(answer.status, 204, path)
    assert.equal(answer.headers.get('access-control-allow-origin'), APP)
    assert.match(answer.headers.get('access-control-allow-methods') ?? '', methods, path)
    assert.equal(answer.headers.get('access-control-max-age'), '7200')
    assert.equal(answer.headers.get('access-control-allow-credentials'), null)
    assert.ok(varies(answer.headers).includes('Origin'))
    const headers = (answer.headers.get('access-control-allow-headers') ?? '').toLowerCase().split(', ')
    for (const name of ['authorization', 'content-type', 'idempotency-key', 'prefer', 'accept'])
      assert.ok(headers.includes(name), name)
    for (const origin of OTHERS) {
      const other = await call(service, 'OPTIONS', path, { origin, 'access-control-request-method': method })
      assert.deepEqual(corsNames(other.headers), [], `${origin} ${path}`)
    }
  }
})

test('a page reads errors too: of limits, of bodies, and of a body that does not arrive', long, async (t) => {
  const now = Date.now() // The rate of a token starts anew with every minute of the clock.
  const service = await startService(t, { env: { CORS_ORIGINS: APP }, clock: () => now })
  const { secret } = await service.token({ ratePerMinute: 4 })
  const post = (body: string, type = 'application/json') =>
    fetch(`${service.url}/register`, {
      method: 'POST',
      headers: { origin: APP, authorization: `Bearer ${secret}`, 'content-type': type },
      body,
    })
  const large = JSON.stringify({ name: 'x'.repeat(20_000) })
  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'throttle', times: 9 })
  for (const [body, type, status] of [
    ['{}', 'application/json', 400],
    [large, 'application/json', 413],
    ['a', 'text/plain', 415],
    ['{"name":"a"}', 'application/json', 503],
    ['{"name":"a"}', 'application/json', 429],
  ] as const) {
    const answer = await post(body, type)
    assert.equal(answer.status, status)
    assert.equal(answer.headers.get('access-control-allow-origin'), APP)
    const exposed = (answer.headers.get('access-control-expose-headers') ?? '').split(', ')
    assert.deepEqual(exposed, [...Object.keys(responseHeaders), 'Allow'])
    for (const name of [
      'Accept',
      'Accept-Encoding',
      'WWW-Authenticate',
      'Link',
      'Location',
      'Retry-After',
      'RateLimit',
    ])
      assert.ok(exposed.includes(name), name)
  }
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  const { secret: other } = await service.token()
  const arrival = once(service.app.server, 'request')
  socket.write(
    `POST /register HTTP/1.1\r\nhost: x\r\norigin: ${APP}\r\nauthorization: Bearer ${other}\r\n` +
      'content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n',
  )
  await arrival
  await setImmediate()
  socket.write('no chunk\r\n')
  const response = await text(socket)
  assert.match(response, /^HTTP\/1\.1 400 /)
  assert.match(response, /access-control-allow-origin: https:\/\/app\.example\r\n/i)
  assert.match(response, /vary: Origin\r\n/i)
})

test('a page that has a management token manages its registration', async (t) => {
  const service = await startService(t, { env: { CORS_ORIGINS: APP } })
  const { registration_id, management } = await registered(service)
  const headers = { origin: APP, authorization: `Bearer ${management.token}` }
  for (const [method, path, status] of [
    ['GET', '', 200],
    ['GET', '/usage', 200],
    ['POST', '/rotate', 201],
    ['DELETE', '', 204],
  ] as const) {
    const answer = await call(service, method, `/register/${registration_id}${path}`, headers)
    assert.equal(answer.status, status)
    assert.equal(answer.headers.get('access-control-allow-origin'), APP)
  }
})
