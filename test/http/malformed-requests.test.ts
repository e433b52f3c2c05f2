import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { z } from 'zod'
import { startService } from '../support/service.ts'

const HOST = 'host: keys.example.com\r\n'
const CHUNKED = 'transfer-encoding: chunked\r\n'
const many = (count: number) => Array.from({ length: count }, (_, i) => `x-${i}: ${i}\r\n`).join('')
const post = (headers: string, body = '') => `POST /register HTTP/1.1\r\n${HOST}${headers}\r\n${body}`
const get = (headers: string) => `GET /livez HTTP/1.1\r\n${headers}\r\n`

const malformed: [title: string, data: string, status: number, code: string, detail: RegExp][] = [
  ['a header of 20 KB', get(`${HOST}x: ${'x'.repeat(20_000)}\r\n`), 431, 'headers_too_large', /headers/],
  [
    'headers of 20 KB',
    get(HOST + `x: ${'x'.repeat(990)}\r\n`.repeat(20)),
    431,
    'headers_too_large',
    /headers/,
  ],
  ['a cookie of 30 KB', get(`${HOST}cookie: ${'x'.repeat(30_000)}\r\n`), 431, 'headers_too_large', /headers/],
  ['201 headers', get(HOST + many(200)), 431, 'headers_too_large', /more than 200/],
  ['3,000 headers', get(HOST + 'x:\r\n'.repeat(3_000)), 431, 'headers_too_large', /more than 200/],
  [
    'a URL of 20 KB',
    `GET /${'x'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`,
    414,
    'uri_too_long',
    /request line/,
  ],
  [
    'a query of 30 KB',
    `GET /?${'x'.repeat(30_000)} HTTP/1.1\r\n${HOST}\r\n`,
    414,
    'uri_too_long',
    /request line/,
  ],
  ['no Host', get(''), 400, 'invalid_request', /Host header is missing/],
  ['two Hosts', get(HOST + HOST), 400, 'invalid_request', /more than one Host/],
  ['two Hosts that differ', get(`${HOST}HOST: other\r\n`), 400, 'invalid_request', /more than one Host/],
  [
    'two Hosts in HTTP/1.0',
    `GET /livez HTTP/1.0\r\n${HOST}${HOST}\r\n`,
    400,
    'invalid_request',
    /more than one Host/,
  ],
  ...[
    'Authorization: Bearer a',
    'Content-Type: application/json',
    'Idempotency-Key: aaaaaaaaaaaaaaaa',
  ].flatMap((line): [string, string, number, string, RegExp][] => {
    const [name = ''] = line.split(':', 1)
    return [line, `${name.toUpperCase()}: other`].map((second) => [
      `${line} and ${second}`,
      post(`${line}\r\n${second}\r\n`),
      400,
      'invalid_request',
      RegExp(`more than one ${name} header`),
    ])
  }),
  [
    'a malformed path with two Hosts',
    `GET /%zz HTTP/1.1\r\n${HOST}${HOST}\r\n`,
    400,
    'invalid_request',
    /more than one Host/,
  ],
  [
    'a malformed path of 20 KB',
    `GET /%zz${'x'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`,
    414,
    'uri_too_long',
    /request line/,
  ],
  [
    'an id of 20 KB',
    `GET /register/${'x'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`,
    414,
    'uri_too_long',
    /request line/,
  ],
  ['a header of 100 KB', get(`${HOST}x: ${'x'.repeat(100_000)}\r\n`), 431, 'headers_too_large', /headers/],
  ...[
    'a b',
    'a/b',
    'http://a',
    'a:b',
    'u@a',
    'a,b"',
    '<script>',
    '[::1',
    'ключи',
    'a\\b',
    'a:80:80',
    'a?b',
    '\u0080',
  ].map((host): [string, string, number, string, RegExp] => [
    `the Host ${JSON.stringify(host)}`,
    get(`host: ${host}\r\n`),
    400,
    'invalid_request',
    /Host header is not/,
  ]),
  ['GET *', `GET * HTTP/1.1\r\n${HOST}\r\n`, 400, 'invalid_request', /only for OPTIONS/],
  [
    'two Content-Lengths',
    post('content-length: 2\r\ncontent-length: 3\r\n', '{}'),
    400,
    'invalid_request',
    /HTTP/,
  ],
  [
    'a Content-Length that is no number',
    post('content-length: 2, 2\r\n', '{}'),
    400,
    'invalid_request',
    /HTTP/,
  ],
  ['both lengths', post(`${CHUNKED}content-length: 2\r\n`, '0\r\n\r\n'), 400, 'invalid_request', /HTTP/],
  [
    'two Transfer-Encodings',
    post(`${CHUNKED}transfer-encoding: gzip\r\n`, '0\r\n\r\n'),
    400,
    'invalid_request',
    /HTTP/,
  ],
  ['a folded header', get(`${HOST}x: a\r\n\tb\r\n`), 400, 'invalid_request', /HTTP/],
  ['a space before a colon', get(`${HOST}x : a\r\n`), 400, 'invalid_request', /HTTP/],
  ['a bare line feed', `GET /livez HTTP/1.1\n${HOST}\n`, 400, 'invalid_request', /HTTP/],
  ['a null character', get(`${HOST}x: a\u0000b\r\n`), 400, 'invalid_request', /HTTP/],
  ['another protocol', 'SSH-2.0-OpenSSH_9.6\r\n', 400, 'invalid_request', /HTTP/],
  ['TLS', '\u0016\u0003\u0001\u0000\u00a5\u0001', 400, 'invalid_request', /HTTP/],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'invalid_request', /HTTP/],
  ['HTTP/3.0', `GET /livez HTTP/3.0\r\n${HOST}\r\n`, 400, 'invalid_request', /HTTP/],
  ['an unknown method', `FOO /livez HTTP/1.1\r\n${HOST}\r\n`, 400, 'invalid_request', /method/],
  ['CONNECT', `CONNECT keys.example.com:443 HTTP/1.1\r\n${HOST}\r\n`, 400, 'invalid_request', /method/],
]

const problemSchema = z.object({
  status: z.number(),
  code: z.string(),
  detail: z.string(),
  instance: z.string(),
})

test('what is no valid request gets a problem document that says why, and the connection is closed', async (t) => {
  const { url } = await startService(t)
  for (const [title, data, status, code, detail] of malformed) {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('error', () => undefined) // The service may close the connection before it has read everything.
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.write(Buffer.from(data, title.startsWith('TLS') ? 'latin1' : 'utf8'))
    await new Promise((resolve) => socket.once('close', resolve))
    const [head = '', body = ''] = text.split('\r\n\r\n')
    assert.match(head, RegExp(`^HTTP/1\\.1 ${status} `), title)
    for (const line of [
      /^content-type: application\/problem\+json/im,
      /^connection: close$/im,
      /^cache-control: no-store$/im,
      /^date: .* GMT$/im,
      RegExp(`^content-length: ${Buffer.byteLength(body)}$`, 'im'),
    ])
      assert.match(head, line, title)
    const problem = problemSchema.parse(JSON.parse(body))
    assert.deepEqual([problem.status, problem.code], [status, code], title)
    assert.match(problem.detail, detail, title)
    assert.match(head, RegExp(`^x-request-id: ${problem.instance}$`, 'im'), title)
  }
})

test('an error that is the response to HEAD has no body', async (t) => {
  const { url } = await startService(t)
  for (const [data, status] of [
    [`HEAD / HTTP/1.1\r\n${HOST}x y\r\n\r\n`, 400],
    [`\r\nHEAD /livez HTTP/3.0\r\n${HOST}\r\n`, 400],
    [`HEAD / HTTP/1.1\r\n${HOST}${HOST}\r\n`, 400],
    [`HEAD /%zz HTTP/1.1\r\n${HOST}connection: close\r\n\r\n`, 404],
    [`HEAD / HTTP/1.1\r\n${HOST}cookie: ${'c'.repeat(20_000)}\r\n\r\n`, 431],
    [`HEAD /${'x'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`, 414],
  ] as const) {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(data)
    const [head = '', body] = (await socket.toArray()).join('').split('\r\n\r\n')
    assert.match(head, RegExp(`^HTTP/1\\.1 ${status} [^]*\r\ncontent-length: [1-9]`), data.slice(0, 60))
    assert.equal(body, '', data.slice(0, 60))
  }
})

test('every valid Host is accepted, and none in HTTP/1.0', async (t) => {
  const { url } = await startService(t)
  const hosts = [
    'a',
    'A.example:80',
    'a.example.',
    '[::1]:3000',
    '[fe80::1%25eth0]',
    '127.0.0.1',
    'a_b',
    'xn--h1add2c8a.example',
    '',
    'a:',
  ]
  for (const data of [
    ...hosts.map((host) => get(`host: ${host}\r\nconnection: close\r\n`)),
    'GET /livez HTTP/1.0\r\n\r\n',
  ]) {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(data)
    assert.match((await socket.toArray()).join(''), /^HTTP\/1\.1 200 /, data)
  }
})

test('200 headers are read to the last, which a proxy may have added', async (t) => {
  const service = await startService(t, { env: { TRUST_PROXY: '1' } })
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  socket.write(
    `GET /nowhere HTTP/1.1\r\n${HOST}connection: close\r\n${many(197)}x-forwarded-for: 203.0.113.7\r\n\r\n`,
  )
  assert.match((await socket.toArray()).join(''), /^HTTP\/1\.1 404 /)
  while (!service.logLines.some((line) => line.includes('"ip":"203.0.113.7"')))
    await new Promise(setImmediate)
})
