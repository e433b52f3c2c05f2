import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { errorCatalogue } from '../../src/error-catalogue.ts'
import { problemStatus } from '../../src/http/problem.ts'
import { startService } from '../support/service.ts'

const response = z.object({
  // A 204 has no content.
  content: z.record(z.string(), z.object({ schema: z.record(z.string(), z.unknown()) })).optional(),
})
const openapi = z.object({
  openapi: z.literal('3.1.0'),
  servers: z.array(z.object({ url: z.string() })),
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.looseObject({ operationId: z.string(), responses: z.record(z.string(), response) }),
    ),
  ),
  components: z.object({ schemas: z.record(z.string(), z.looseObject({ type: z.literal('object') })) }),
})

test('/openapi.json is an OpenAPI 3.1 document with every route, every status and a schema for each', async (t) => {
  const { url, deps } = await startService(t)
  const document = openapi.parse(await (await fetch(`${url}/openapi.json`)).json())
  assert.equal(document.servers[0]?.url, deps.config.publicUrl)
  assert.deepEqual(Object.keys(document.paths).sort(), [
    '/',
    '/.well-known/api-catalog',
    '/.well-known/api-onboarding',
    '/.well-known/oauth-authorization-server',
    '/.well-known/oauth-protected-resource',
    '/connect/authorize',
    '/connect/callback',
    '/connect/code',
    '/connect/register',
    '/connect/register/{id}',
    '/connect/token',
    '/docs',
    '/livez',
    '/llms.txt',
    '/openapi.json',
    '/problems/{code}',
    '/readyz',
    '/register',
    '/register.mjs',
    '/register/{id}',
    '/register/{id}/rotate',
    '/register/{id}/usage',
  ])
  assert.deepEqual(Object.keys(document.paths['/register'] ?? {}), ['post'])
  assert.deepEqual(
    Object.keys(document.paths['/register']?.['post']?.responses ?? {}),
    '201 400 401 403 408 409 413 414 415 422 429 431 500 502 503'.split(' '),
  )
  for (const reference of JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)) {
    assert.ok(document.components.schemas[reference[1] ?? ''], String(reference[1]))
  }
})

test('the document contains the schema that validates the body', async (t) => {
  const { url } = await startService(t)
  const document = openapi.parse(await (await fetch(`${url}/openapi.json`)).json())
  const body = z
    .looseObject({
      requestBody: z.object({
        content: z.object({
          'application/json': z.object({
            schema: z.object({
              required: z.array(z.string()),
              additionalProperties: z.literal(false),
              properties: z.object({ name: z.object({ maxLength: z.number() }).loose() }).loose(),
            }),
          }),
        }),
      }),
    })
    .parse(document.paths['/register']?.['post'] ?? {})
  const { schema } = body.requestBody.content['application/json']
  assert.deepEqual(schema.required, ['name'])
  assert.equal(schema.properties.name.maxLength, 128)
})

test('every code has a page under /problems/, which is the type of its problem documents', async (t) => {
  const { url } = await startService(t)
  for (const code of Object.keys(errorCatalogue)) {
    const answer = await fetch(`${url}/problems/${code}`)
    assert.equal(answer.status, 200)
    const page = z.object({ code: z.string(), status: z.number() }).parse(await answer.json())
    assert.equal(page.status, Object.entries(problemStatus).find(([name]) => name === code)?.[1])
  }
  assert.equal((await fetch(`${url}/problems/toString`)).status, 404)
})

test('/livez does not call the control plane; /readyz calls it at most once in some seconds', async (t) => {
  const { url, gateway, deps } = await startService(t)
  for (let i = 0; i < 5; i++) assert.equal((await fetch(`${url}/livez`)).status, 200)
  assert.equal(gateway.answers['GetUsagePlan'], undefined)
  await Promise.all(Array.from({ length: 20 }, () => fetch(`${url}/readyz`)))
  assert.deepEqual(gateway.answers['GetUsagePlan'], { 200: deps.config.plans.length })
})
