import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { request as httpRequest, type OutgoingHttpHeaders } from 'node:http'
import { test } from 'node:test'
import { z } from 'zod'
import { clientMetadata } from '../../src/routes/connect-schema.ts'
import { long } from '../support/long.ts'
import { registered, type Service, startService } from '../support/service.ts'

const faultSchema = z.looseObject({
  code: z.string(),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
})

interface Sent {
  readonly status: number
  readonly body: unknown
}

/** Sends a request whose headers are exactly these. fetch would change them. */
function send(
  { url }: Service,
  method: string,
  path: string,
  headers: OutgoingHttpHeaders,
  content = '',
): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url + path, { method, headers })
    request.on('error', reject).on('response', async (answer) => {
      const text = (await answer.toArray()).join('')
      resolve({ status: answer.statusCode ?? 0, body: text === '' ? undefined : JSON.parse(text) })
    })
    request.end(content)
  })
}

const TYPES = [
  'application/json',
  'application/x-www-form-urlencoded',
  'text/plain',
  'multipart/form-data; boundary=x',
  'application/octet-stream',
  'json',
  '/',
  ';',
  '',
]
/** The ways to send a body of no bytes. */
const EMPTY: readonly OutgoingHttpHeaders[] = [
  ...TYPES.flatMap((type) => [
    { 'content-type': type, 'content-length': 0 },
    { 'content-type': type, 'transfer-encoding': 'chunked' },
  ]),
  { 'content-length': 0 },
  { 'transfer-encoding': 'chunked' },
  { 'content-type': 'application/json', 'content-encoding': 'gzip', 'content-length': 0 },
]

test('an empty body has no type: it is absent on every route', long, async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
  const cases = await Promise.all(
    EMPTY.map(async (empty) => {
      const client = await registered(service, {}, {}, secret)
      const path = `/register/${client.registration_id}`
      return { empty, path, own: { ...bearer(client.management.token), ...empty } }
    }),
  )
  for (const { empty, path, own } of cases) {
    const what = JSON.stringify(empty)
    for (const door of ['/register', '/connect/register']) {
      const { status, body } = await send(service, 'POST', door, { ...bearer(secret), ...empty })
      assert.equal(status, 400, `${door} ${what}`)
      assert.match(faultSchema.parse(body).errors?.[0]?.message ?? '', /a JSON object .*is required/, what)
    }
    assert.equal((await send(service, 'GET', path, own)).status, 200, what)
    assert.equal((await send(service, 'GET', `/connect${path}`, own)).status, 200, what)
    assert.equal((await send(service, 'POST', `${path}/rotate`, own)).status, 201, what)
    const door = cases.findIndex((one) => one.path === path) % 2 === 0 ? path : `/connect${path}`
    assert.equal((await send(service, 'DELETE', door, own)).status, 204, what)
  }
})

test('identity is no coding, however it is written, and every other coding is refused', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const cases: [coding: string, status: number][] = [
    ...['identity', 'IDENTITY', ' Identity ', 'identity, identity', ''].map((coding): [string, number] => [
      coding,
      201,
    ]),
    ...['gzip', 'GZIP', 'identity, gzip', 'gzip,identity', 'identityx', 'identity;q=1'].map(
      (coding): [string, number] => [coding, 415],
    ),
  ]
  for (const [coding, status] of cases) {
    const headers = {
      authorization: `Bearer ${secret}`,
      'content-type': 'Application/JSON; charset=UTF-8',
      'content-encoding': coding,
    }
    for (const [path, body] of [
      ['/register', '{"name":"a"}'],
      ['/connect/register', '{"client_name":"a"}'],
    ] as const)
      assert.equal((await send(service, 'POST', path, headers, body)).status, status, `${path} ${coding}`)
  }
})

test('content of a DELETE or a GET has no meaning, so that a key can always be given back', async (t) => {
  const service = await startService(t)
  for (const type of [...TYPES, 'application/json; charset=latin1']) {
    const { registration_id, management } = await registered(service)
    const headers = {
      authorization: `Bearer ${management.token}`,
      'content-type': type,
      'content-length': 3,
    }
    const path = `/register/${registration_id}`
    for (const [method, status] of [
      ['GET', 200],
      ['DELETE', 204],
    ] as const)
      assert.equal((await send(service, method, path, headers, 'a=b')).status, status, `${method} ${type}`)
  }
})

const CLIENT_MEMBERS = Object.keys(clientMetadata.shape).filter((name) => name !== 'client_name')

test('a member that may be absent may be null, and a retry without it is the same request', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const own = await registered(service)
  const nulls = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, null]))
  const cases: [path: string, token: string, body: object, nulls: object][] = [
    ['/register', secret, { name: 'a' }, nulls(['description', 'plan'])],
    ['/connect/register', secret, { client_name: 'a' }, nulls(CLIENT_MEMBERS)],
    [
      `/register/${own.registration_id}/rotate`,
      own.management.token,
      {},
      nulls(['overlap_seconds', 'management_token']),
    ],
  ]
  for (const [path, token, body, absent] of cases) {
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'idempotency-key': randomUUID(),
    }
    const first = await send(service, 'POST', path, headers, JSON.stringify({ ...absent, ...body }))
    assert.equal(first.status, 201, path)
    assert.deepEqual(await send(service, 'POST', path, headers, JSON.stringify(body)), first, path)
    for (const name of Object.keys(absent)) {
      const one = JSON.stringify({ ...body, [name]: null })
      assert.deepEqual(await send(service, 'POST', path, headers, one), first, `${path} ${name}`)
    }
  }
})

test('null is refused in place of a required member, of an item, of a body, and of a member that does not exist', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const own = await registered(service)
  const rotate = `/register/${own.registration_id}/rotate`
  const cases: [path: string, token: string, body: string, at: string][] = [
    ['/register', secret, '{"name":null}', '/name'],
    ['/register', secret, '{"name":"a","nmae":null}', ''],
    ['/register', secret, 'null', ''],
    ['/connect/register', secret, '{"client_name":null}', '/client_name'],
    ['/connect/register', secret, '{"client_name":"a","redirect_uris":[null]}', '/redirect_uris/0'],
    ['/connect/register', secret, 'null', ''],
    [rotate, own.management.token, 'null', ''],
    [rotate, own.management.token, '{"overlap":null}', ''],
  ]
  for (const [path, token, body, at] of cases) {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const refused = await send(service, 'POST', path, headers, body)
    assert.equal(refused.status, 400, `${path} ${body}`)
    assert.deepEqual(
      faultSchema.parse(refused.body).errors?.map((error) => error.path),
      [at],
      body,
    )
  }
})
