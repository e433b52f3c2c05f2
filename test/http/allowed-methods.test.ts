import assert from 'node:assert/strict'
import { METHODS } from 'node:http'
import { connect } from 'node:net'
import { test } from 'node:test'
import { ServiceError } from '../../src/errors.ts'
import { toProblem } from '../../src/http/problem.ts'
import { long } from '../support/long.ts'
import { readDocument } from '../support/openapi/documented.ts'
import { readProblem } from '../support/problem.ts'
import { registered, startService } from '../support/service.ts'

/** The methods that fetch cannot send. */
const UNSENDABLE = ['CONNECT', 'TRACE']
/** Every response has its own, and fetch closes the connection after a HEAD request. */
const OWN = ['x-request-id', 'date', 'ratelimit', 'connection', 'keep-alive']

test(
  'on every path OPTIONS returns 204, any other method 405, both with Allow; HEAD is GET without a body',
  long,
  async (t) => {
    const service = await startService(t, { env: { RATE_LIMIT_PER_IP: '100000' } })
    const own = await registered(service)
    const { operations } = readDocument(service.app.swagger())
    const byPath = Map.groupBy(operations, ({ path }) => path)
    assert.ok(byPath.size > 15)
    for (const [template, supported] of [...byPath, ['/assets/style.css', [{ method: 'GET' }]] as const]) {
      const path = template
        .replace('{id}', own.registration_id)
        .replace('{code}', 'internal')
        .replace(/\{\w+\}/, 'style.css')
      const url = service.url + path
      const methods = supported.map(({ method }) => method)
      const all = methods.includes('GET') ? [...methods, 'HEAD'] : methods
      const allow = [...all, 'OPTIONS'].sort().join(', ')

      const options = await fetch(url, { method: 'OPTIONS' })
      assert.deepEqual([options.status, options.headers.get('allow')], [204, allow], path)
      assert.equal(await options.text(), '')

      for (const method of METHODS.filter((name) => ![...all, 'OPTIONS', ...UNSENDABLE].includes(name))) {
        const refused = await fetch(url, { method })
        assert.deepEqual([refused.status, refused.headers.get('allow')], [405, allow], `${method} ${path}`)
        if (method !== 'HEAD') assert.equal((await readProblem(refused)).code, 'method_not_allowed')
      }

      if (!methods.includes('GET')) continue
      for (const authorization of [`Bearer ${own.management.token}`, 'none'])
        for (const accept of ['text/html', 'application/json']) {
          const send = (method: string) => fetch(url, { method, headers: { accept, authorization } })
          const [get, head] = await Promise.all([send('GET'), send('HEAD')])
          const headersOf = (answer: Response) => [...answer.headers].filter(([name]) => !OWN.includes(name))
          assert.equal(head.status, get.status, path)
          assert.deepEqual(headersOf(head), headersOf(get), path)
          assert.ok(head.headers.has('content-length'), path)
          assert.equal(await head.text(), '', path)
        }
    }
  },
)

test('OPTIONS * returns the methods of the whole service; a path that does not exist has none', async (t) => {
  const { url } = await startService(t)
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.write('OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  assert.match(
    (await socket.toArray()).join(''),
    /^HTTP\/1\.1 204 [\s\S]*\r\nallow: DELETE, GET, HEAD, OPTIONS, POST\r\n/,
  )
  for (const method of ['OPTIONS', 'GET', 'POST', 'DELETE']) {
    const answer = await fetch(`${url}/nowhere`, { method })
    assert.deepEqual([answer.status, answer.headers.get('allow')], [404, null])
  }
})

test('a 415 says what is supported', async (t) => {
  const { url, token } = await startService(t)
  const { secret } = await token()
  const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/xml' }
  for (const path of ['/register', '/connect/register']) {
    const answer = await fetch(url + path, { method: 'POST', headers, body: '<a/>' })
    assert.deepEqual(
      [answer.status, answer.headers.get('accept'), answer.headers.get('accept-encoding')],
      [415, 'application/json', 'identity'],
    )
  }
})

test('every retryable error has a Retry-After of whole seconds, at least 1, and no other has one', () => {
  const waitOf = (error: ServiceError) => toProblem(error, 'req_x', 'https://keys.example.com').retry_after
  for (const [given, sent] of [
    [undefined, 5],
    [0, 1],
    [0.2, 1],
    [1.1, 2],
    [30, 30],
  ] as const)
    assert.equal(waitOf(new ServiceError('overloaded', 'Busy.', { retryAfter: given })), sent)
  assert.equal(waitOf(new ServiceError('token_expired', 'Over.')), undefined)
})
