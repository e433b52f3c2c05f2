import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { z } from 'zod'
import { createSecret } from '../../src/auth/token-format.ts'
import { readProblem } from '../support/problem.ts'
import { manage, registered, type Service, startService } from '../support/service.ts'

/** Asserts that no key was minted and no use was spent. */
async function assertNothingDone({ gateway, deps }: Service, tokenId: string): Promise<void> {
  assert.equal(gateway.account.keys.size, 0)
  assert.equal((await deps.store.getToken(tokenId))?.uses, 0)
}

const badBodies: [title: string, body: unknown, path: string][] = [
  ['a name of 0 characters', { name: '' }, '/name'],
  ['a name of 300 characters', { name: 'x'.repeat(300) }, '/name'],
  ['no name', {}, '/name'],
  ['a name that is a number', { name: 7 }, '/name'],
  ['a control character', { name: 'a\u0007b' }, '/name'],
  ['a line break', { name: 'a\nb' }, '/name'],
  ['a bidirectional override', { name: 'a\u202eb' }, '/name'],
  ['an invisible character', { name: 'a\u200bb' }, '/name'],
  ['a joiner between letters that do not join', { name: 'a\u200db' }, '/name'],
  ['a token as a name', { name: createSecret('fkb_') }, '/name'],
  ['a token in a description', { name: 'a', description: `see ${createSecret('fkm_')}` }, '/description'],
  ['a blank letter', { name: '\u3164' }, '/name'],
  ['spaces at the end', { name: 'agent ' }, '/name'],
  ['a description of 300 characters', { name: 'a', description: 'x'.repeat(300) }, '/description'],
  ['a plan that is an object', { name: 'a', plan: {} }, '/plan'],
  ['an unknown field', { name: 'a', nmae: 'b' }, ''],
  ['an array', [], ''],
  ['a string', 'acme', ''],
  ['null', null, ''],
]

for (const [title, body, path] of badBodies) {
  test(`status 400 names the field: ${title}`, async (t) => {
    const service = await startService(t)
    const { secret, token } = await service.token()
    const problem = await readProblem(await service.register(secret, body))
    assert.equal(problem.code, 'invalid_request')
    assert.deepEqual(
      problem.errors?.map((error) => error.path),
      [path],
    )
    await assertNothingDone(service, token.id)
  })
}

test('every error in a body is listed at once', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const problem = await readProblem(await service.register(secret, { name: '', plan: 1, x: 1 }))
  assert.deepEqual(problem.errors?.map((error) => error.path).sort(), ['', '/name', '/plan'])
})

test('names in other scripts are accepted, and returned in NFC by every route and in API Gateway', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const scripts = ['Zoë', '東京エージェント', 'агент 1', 'وكيل', "O'Neil & Sons (prod)", 'Tiếng Việt']
  const others = [
    'نرم\u200cافزار',
    'ශ්\u200dරී ලංකා',
    '葛\u{e0100}飾',
    '€ → ™ ₹ No.\u00a01',
    '👩\u200d🚀 ☁\ufe0f',
  ]
  // All at once: most of the keys are imported together.
  const calls = [...scripts, ...others].map(async (sent) => {
    const name = sent.normalize('NFC')
    const body = { name: sent.normalize('NFD'), description: sent.normalize('NFD') }
    const answer = await service.register(secret, body)
    assert.equal(answer.status, 201, name)
    const credential = z
      .looseObject({
        name: z.string(),
        description: z.string(),
        management: z.object({ token: z.string(), url: z.string() }),
      })
      .parse(await answer.json())
    assert.deepEqual([credential.name, credential.description], [name, name])
    const { token, url } = credential.management
    const shown = await fetch(service.url + new URL(url).pathname, {
      headers: { authorization: `Bearer ${token}` },
    })
    assert.equal(z.looseObject({ name: z.string() }).parse(await shown.json()).name, name)
    assert.ok([...service.gateway.account.keys.values()].some((key) => key.name.endsWith(` ${name}`)))
  })
  await Promise.all(calls)
})

test('a name of 128 characters is accepted whatever they take in UTF-16, and the form of the page sends it', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  assert.equal((await service.register(secret, { name: '🤖'.repeat(128) })).status, 201)
  assert.equal((await service.register(secret, { name: '🤖'.repeat(129) })).status, 400)
  // Browsers count code units for maxlength.
  const page = await fetch(service.url, { headers: { accept: 'text/html' } })
  assert.doesNotMatch(await page.text(), /maxlength/i)
})

test('the prefix of names and retries are compared in NFC', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token({ namePrefix: 'é-'.normalize('NFD') })
  const keyFor = async (name: string) => {
    const answer = await service.register(secret, { name }, { 'idempotency-key': 'a-key-of-16-characters' })
    assert.equal(answer.status, 201)
    return z.looseObject({ api_key_value: z.string() }).parse(await answer.json()).api_key_value
  }
  assert.equal(await keyFor('é-Việt'.normalize('NFD')), await keyFor('é-Việt'.normalize('NFC')))
  assert.equal((await service.register(secret, { name: 'e-x' })).status, 403)
})

test('invariant 5: a token that is sent as a text is refused, and is in no answer, log line or audit entry', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const others = [createSecret('fkb_'), createSecret('fkm_'), secret]
  const send = (path: string, body: object) =>
    fetch(service.url + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  for (const other of others) {
    const answers = [
      await send('/register', { name: other }),
      await send('/register', { name: 'a', description: `token: ${other}.` }),
      await send('/connect/register', { client_name: `x ${other}` }),
      await send('/connect/register', { client_name: 'a', software_id: other }),
      await send('/connect/register', { client_name: 'a', redirect_uris: [`https://a.example/?t=${other}`] }),
    ]
    for (const answer of answers) {
      assert.equal(answer.status, 400)
      const text = await answer.text()
      assert.match(text, /must not contain a token/)
      assert.ok(!text.includes(other.slice(4)))
    }
    assert.ok(!service.logLines.join('').includes(other.slice(4)))
    const entries = await service.deps.store.listAudit({ limit: 1_000 })
    assert.ok(!JSON.stringify(entries).includes(other.slice(4)))
  }
  assert.equal(service.gateway.account.keys.size, 0)
})

const badRequests: [title: string, init: RequestInit, status: number, code: string][] = [
  ['malformed JSON', { body: '{"name":"a"' }, 400, 'invalid_request'],
  ['__proto__ in the JSON', { body: '{"name":"a","__proto__":{}}' }, 400, 'invalid_request'],
  ['a body of 17 KiB', { body: JSON.stringify({ name: 'x'.repeat(17 * 1_024) }) }, 413, 'payload_too_large'],
  [
    'a form',
    { body: 'name=a', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
    415,
    'unsupported_media_type',
  ],
  ['plain text', { body: 'a', headers: { 'content-type': 'text/plain' } }, 415, 'unsupported_media_type'],
  [
    'a malformed content type',
    { body: '{"name":"a"}', headers: { 'content-type': 'json' } },
    415,
    'unsupported_media_type',
  ],
  [
    'a compressed body',
    { body: '{"name":"a"}', headers: { 'content-encoding': 'gzip' } },
    415,
    'unsupported_media_type',
  ],
]

for (const [title, init, status, code] of badRequests) {
  test(`status ${status}: ${title}`, async (t) => {
    const service = await startService(t)
    const { secret, token } = await service.token()
    const headers = { 'content-type': 'application/json', ...init.headers, authorization: `Bearer ${secret}` }
    const answer = await fetch(`${service.url}/register`, { ...init, method: 'POST', headers })
    assert.equal(answer.status, status)
    assert.equal((await readProblem(answer)).code, code)
    await assertNothingDone(service, token.id)
  })
}

test('the detail of a rejected request says what is wrong, and where', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const own = await registered(service)
  const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }
  const post = (body: string) => fetch(`${service.url}/register`, { method: 'POST', headers, body })
  const details = await Promise.all(
    [
      post('{"name":"a","__proto__":{}}'),
      service.register(secret, { name: 'a', nmae: 'b' }),
      manage(service, own, 'POST', '/rotate', []),
      manage(service, own, 'POST', '/rotate', { overlap: 60 }),
      manage(service, own, 'GET', '/usage?frm=2026-11-24'),
      service.register('fkb_a b'),
    ].map(async (answer) => (await readProblem(await answer)).detail),
  )
  assert.deepEqual(details, [
    'The body is not valid JSON, or has a member named __proto__ or constructor.',
    'body: has unknown fields: "nmae".',
    'body: a JSON object is required.',
    'body: has unknown fields: "overlap".',
    'query: has unknown parameters: "frm".',
    'The request has no valid "Authorization: Bearer …" header: one token after "Bearer", without spaces.',
  ])
})

test('status 413: a body of 10 MB is rejected without being read', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write(
    `POST /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${secret}\r\n` +
      'content-type: application/json\r\ncontent-length: 10000000\r\n\r\n{"name":"',
  )
  const [first] = await once(socket, 'data')
  assert.match(String(first), /^HTTP\/1\.1 413 /)
})

test('404 and 405 are problem documents, too; a 405 lists the methods', async (t) => {
  const { url } = await startService(t)
  const missing = await fetch(`${url}/nowhere`)
  assert.equal(missing.status, 404)
  assert.equal((await readProblem(missing)).code, 'not_found')

  for (const [path, method, allow] of [
    ['/register', 'GET', 'OPTIONS, POST'],
    ['/register', 'DELETE', 'OPTIONS, POST'],
    ['/livez', 'POST', 'GET, HEAD, OPTIONS'],
    ['/openapi.json', 'PUT', 'GET, HEAD, OPTIONS'],
    ['/register', 'PROPFIND', 'OPTIONS, POST'],
  ] as const) {
    const answer = await fetch(`${url}${path}`, { method })
    assert.equal(answer.status, 405)
    assert.equal(answer.headers.get('allow'), allow)
    assert.equal((await readProblem(answer)).code, 'method_not_allowed')
  }
})

test('a path that is not a valid URL path gets a problem document', async (t) => {
  const { url } = await startService(t)
  assert.equal((await readProblem(await fetch(`${url}/%zz`))).code, 'not_found')
})

test('data that is not HTTP or has an unknown method gets a problem document, and the connection is closed', async (t) => {
  const { url } = await startService(t)
  for (const data of ['hello?', 'FOO /register HTTP/1.1']) {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(`${data}\r\n\r\n`)
    const text = (await socket.toArray()).join('')
    assert.match(text, /^HTTP\/1\.1 400 /)
    assert.match(text, /content-type: application\/problem\+json/)
    assert.match(text, /"detail":"The request is not valid HTTP, or its method is not supported\."/)
  }
})

test('a missing Host and large headers get a problem document; an unknown expectation is ignored', async (t) => {
  const { url } = await startService(t)
  const send = async (head: string) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(`POST /register HTTP/1.1\r\n${head}connection: close\r\ncontent-length: 0\r\n\r\n`)
    return (await socket.toArray()).join('')
  }
  assert.match(await send(''), /^HTTP\/1\.1 400 [\s\S]*"code":"invalid_request"/)
  assert.match(await send('host: x\r\nexpect: foo\r\n'), /^HTTP\/1\.1 401 [\s\S]*"code":"missing_token"/)
  assert.match(
    await send(`host: x\r\nx: ${'x'.repeat(20_000)}\r\n`),
    /^HTTP\/1\.1 431 [\s\S]*"code":"headers_too_large"/,
  )
})

test('an error for garbage after a request is not sent in place of the response to the request', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateApiKey: 100 } } })
  const { secret } = await service.token()
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  const body = '{"name":"a"}'
  socket.write(
    `POST /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${secret}\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}hello?\r\n\r\n`,
  )
  assert.doesNotMatch((await socket.toArray()).join(''), /HTTP\/1\.1 400/)
})

test('a client that disconnects while sending its body leaves no key and no spent use', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token()
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  socket.write(
    `POST /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${secret}\r\n` +
      'content-type: application/json\r\ncontent-length: 20\r\n\r\n{"name":',
    () => socket.destroy(),
  )
  await once(socket, 'close')
  assert.equal((await service.register(secret)).status, 201)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
  assert.equal(service.gateway.account.keys.size, 1)
})

test('invariant 2: if a client disconnects before the response, no key without an owner remains', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateUsagePlanKey: 100 } } })
  const { secret, token } = await service.token()
  const gone = new AbortController()
  service.gateway.onCall = (operation) => {
    if (operation === 'CreateUsagePlanKey') gone.abort()
  }
  await assert.rejects(
    fetch(`${service.url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: '{"name":"a"}',
      signal: gone.signal,
    }),
  )
  await service.deps.inFlight.settled()
  await assertNothingDone(service, token.id)
})
