import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { errorCatalogue } from '../../src/error-catalogue.ts'
import { problemStatus } from '../../src/http/problem.ts'
import { openapiText } from '../support/openapi/document.ts'
import { codesOf, readDocument } from '../support/openapi/documented.ts'
import { readProblem } from '../support/problem.ts'
import { startService } from '../support/service.ts'

const written = readFileSync(join(import.meta.dirname, '../../docs/openapi.json'), 'utf8')
const { operations, description } = readDocument(JSON.parse(written))

test('docs/openapi.json is the OpenAPI document of the service; npm run openapi writes it', async () => {
  assert.ok(written === (await openapiText()), 'docs/openapi.json is out of date: npm run openapi')
})

test('every code is an error of an operation, under its status; only 405 belongs to none', () => {
  const told = new Map<string, Set<string>>()
  // Statuses of its own: whatever is wrong with a grant is 400 (RFC 6749, section 5.2).
  for (const { responses } of operations.filter(({ path }) => path !== '/connect/token'))
    for (const [status, response] of Object.entries(responses))
      for (const code of codesOf(response)) told.set(code, (told.get(code) ?? new Set()).add(status))
  for (const code of Object.keys(errorCatalogue)) assert.ok(description.includes(`\`${code}\``), code)
  const { method_not_allowed, ...others } = problemStatus
  const { invalid_client, invalid_grant, unsupported_grant_type, ...elsewhere } = others
  assert.deepEqual(
    Object.fromEntries([...told].map(([code, statuses]) => [code, [...statuses].join()])),
    Object.fromEntries(Object.entries(elsewhere).map(([code, status]) => [code, String(status)])),
  )
  const token = operations.find(({ path }) => path === '/connect/token')
  const codesAt = (status: number) => codesOf(token?.responses[status] ?? { headers: {}, content: {} })
  const ofGrant = ['invalid_grant', 'unsupported_grant_type', 'token_replayed', 'identity_not_allowed']
  for (const code of ofGrant) assert.ok(codesAt(400).includes(code), code)
  assert.deepEqual(codesAt(401), ['invalid_client'])
  assert.deepEqual([invalid_client, invalid_grant, unsupported_grant_type], [401, 400, 400])
  assert.equal(method_not_allowed, 405)
})

test('every operation lists the errors that any can return, and those of its tokens and limits', () => {
  assert.ok(operations.length > 15)
  for (const { path, method, tag, isOpen, responses } of operations) {
    const codes = Object.values(responses).flatMap(codesOf)
    const expected = [
      ...['invalid_request', 'request_timeout', 'payload_too_large', 'uri_too_long', 'headers_too_large'],
      'unsupported_media_type',
      ...['internal', 'shutting_down'],
      ...(tag === 'Health' ? [] : ['rate_limited']),
      ...(isOpen ? [] : ['missing_token', 'invalid_token', 'store_unavailable', 'upstream_throttled']),
    ]
    for (const code of expected) assert.ok(codes.includes(code), `${method} ${path}: ${code}`)
    if (tag === 'Health') assert.ok(!codes.includes('rate_limited'))
  }
})

test('the example of an error is the response of the service', async (t) => {
  const { url, app } = await startService(t)
  const { components } = JSON.parse(JSON.stringify(app.swagger()))
  const answer = await fetch(`${url}/register`, { method: 'POST' })
  const { instance, detail, ...sent } = await readProblem(answer)
  const {
    instance: _instance,
    detail: _detail,
    ...example
  } = components.examples['Problem.missing_token'].value
  assert.deepEqual(sent, example)
  assert.ok(instance.length === _instance.length && detail !== '')
})

/** The header fields of every response to a kind of request, and those of HTTP itself. */
const COMMON =
  /^(?:cache-control|connection|content-.*|date|keep-alive|transfer-encoding|x-content-type-options)$/

test('the document declares the headers of responses', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const requests: [path: string, type: string, body: string][] = [
    ['/register', 'text/xml', '<a/>'],
    ['/register', 'application/json', '{}'],
    ['/register', 'application/json', '{"name":"a"}'],
    ['/connect/register', 'text/xml', '<a/>'],
    ['/connect/register', 'application/json', '{}'],
    ['/connect/register', 'application/json', '{"client_name":"a"}'],
  ]
  for (const [path, type, body] of requests)
    for (const authorization of [`Bearer ${secret}`, 'none']) {
      const headers = { authorization, 'content-type': type, prefer: 'wait=1' }
      const answer = await fetch(service.url + path, { method: 'POST', headers, body })
      const { responses } = operations.find((one) => one.path === path && one.method === 'POST') ?? {}
      const declared = Object.keys(responses?.[answer.status]?.headers ?? {}).map((name) =>
        name.toLowerCase(),
      )
      for (const name of answer.headers.keys())
        assert.ok(COMMON.test(name) || declared.includes(name), `${path} ${answer.status} ${name}`)
    }
})

test('the paths in the document are complete, whatever the path of PUBLIC_URL', async (t) => {
  const { app } = await startService(t, { env: { PUBLIC_URL: 'https://keys.example.com/register/prod' } })
  const whole = new Set(operations.map(({ path }) => path))
  assert.deepEqual(new Set(readDocument(app.swagger()).operations.map(({ path }) => path)), whole)
})
