import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { z } from 'zod'
import { errorCatalogue } from '../../src/error-catalogue.ts'
import { readProblem } from '../support/problem.ts'
import { dataPlane, startService } from '../support/service.ts'

const PUBLIC_URL = 'https://keys.example.com/base'

/** Starts a service that callers reach at {@link PUBLIC_URL}. `reach` fetches such a URL from the service. */
async function startBehindGateway(t: Parameters<typeof startService>[0]) {
  const service = await startService(t, { env: { PUBLIC_URL } })
  const reach = (url: string, init?: RequestInit) => {
    assert.ok(url.startsWith(`${PUBLIC_URL}/`), `${url} is below PUBLIC_URL`)
    return fetch(service.url + url.slice(PUBLIC_URL.length), init)
  }
  return { service, reach }
}

test('the onboarding descriptor matches its schema (AOD 0.1) and describes this deployment', async (t) => {
  const { reach } = await startBehindGateway(t)
  const answer = await reach(`${PUBLIC_URL}/.well-known/api-onboarding`)
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
  const descriptor = await answer.json()
  const schema = JSON.parse(readFileSync(join(import.meta.dirname, '../support/aod.schema.json'), 'utf8'))
  const ajv = new Ajv2020({ allErrors: true, strict: false })
  addFormats.default(ajv)
  const validate = ajv.compile(schema)
  assert.ok(validate(descriptor), JSON.stringify(validate.errors))
  const { maturity, account, credentials } = z
    .looseObject({
      maturity: z.string(),
      account: z.looseObject({
        agentPolicy: z.string(),
        plans: z.array(z.looseObject({ name: z.string() })),
      }),
      credentials: z.array(z.looseObject({ type: z.string() })),
    })
    .parse(descriptor)
  assert.deepEqual([maturity, account.agentPolicy], ['bootstrap-token', 'allowed'])
  assert.deepEqual(
    account.plans.map(({ name }) => name),
    ['free', 'gold'],
  )
  assert.deepEqual(
    credentials.map(({ type }) => type),
    ['api-key'],
  )
})

const flowSchema = z.looseObject({
  flow: z.object({
    args: z.array(
      z.object({ name: z.string(), required: z.boolean(), default: z.string().optional() }).loose(),
    ),
    steps: z.array(
      z
        .object({
          id: z.string(),
          request: z.object({
            method: z.string(),
            url: z.string(),
            headers: z.record(z.string(), z.string()),
            body: z.record(z.string(), z.string()),
          }),
          onStatus: z.record(z.string(), z.object({ action: z.string(), message: z.string().optional() })),
        })
        .loose(),
    ),
    outputs: z.record(z.string(), z.string()),
  }),
})

/** Expands a template of a descriptor: `{env.VAR}`, `{arg.name}`, `{steps.<id>.<json.path>}`. */
function expand(template: string, scope: object): string {
  return template.replace(/\{([\w.]+)\}/g, (_whole, path: string) => {
    const value = path
      .split('.')
      .reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], scope)
    return String(value ?? '')
  })
}

test('a generic engine can register with the onboarding descriptor alone', async (t) => {
  const { service, reach } = await startBehindGateway(t)
  const { secret } = await service.token({ maxUses: 1 })
  const { flow } = flowSchema.parse(await (await reach(`${PUBLIC_URL}/.well-known/api-onboarding`)).json())

  async function run(token: string): Promise<Record<string, string> | string> {
    const arg = Object.fromEntries(flow.args.map(({ name, default: value }) => [name, value ?? 'acme-agent']))
    const steps: Record<string, unknown> = {}
    const scope = { env: { FIRSTKEY_TOKEN: token }, arg, steps }
    const expandAll = (fields: Record<string, string>) =>
      Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, expand(text, scope)]))
    for (const { id, request, onStatus } of flow.steps) {
      const answer = await reach(expand(request.url, scope), {
        method: request.method,
        headers: expandAll(request.headers),
        body: JSON.stringify(expandAll(request.body)),
      })
      const { action, message = '' } = onStatus[answer.status] ?? { action: 'fail', message: 'undocumented' }
      if (action === 'fail') return message
      steps[id] = await answer.json()
    }
    return expandAll(flow.outputs)
  }

  const outputs = z.record(z.string(), z.string()).parse(await run(secret))
  assert.equal(await dataPlane(service, outputs['api_key'] ?? ''), 200)
  assert.equal(outputs['client_secret'], outputs['api_key'])
  assert.equal(outputs['client_id'], outputs['api_key_id'])
  assert.equal(outputs['usage_plan_id'], 'demofree')
  assert.match(outputs['management_token'] ?? '', /^fkm_/)
  assert.match(String(await run(secret)), /no uses left/)
  assert.match(String(await run('fkb_wrong')), /ask the operator/)
})

test('an engine may leave out an optional argument, in each way that there is, and may choose a plan', async (t) => {
  const { service, reach } = await startBehindGateway(t)
  const { secret } = await service.token({ plans: ['free', 'gold'] })
  const { flow } = flowSchema.parse(await (await reach(`${PUBLIC_URL}/.well-known/api-onboarding`)).json())
  const [step] = flow.steps
  assert.deepEqual(
    flow.args.map(({ name, required }) => [name, required]),
    [
      ['name', true],
      ['description', false],
      ['plan', false],
    ],
  )
  const planFor = async (args: Record<string, unknown>) => {
    const made = await service.register(secret, args)
    assert.equal(made.status, 201, JSON.stringify(args))
    return z.looseObject({ plan: z.string() }).parse(await made.json()).plan
  }
  assert.deepEqual(Object.keys(step?.request.body ?? {}), ['name', 'description', 'plan'])
  for (const absent of ['', null, undefined])
    assert.equal(await planFor({ name: 'a', description: absent, plan: absent }), 'free')
  assert.equal(await planFor({ name: 'a', plan: 'gold' }), 'gold')
  const key = { 'idempotency-key': randomUUID() }
  const first = await (await service.register(secret, { name: 'a' }, key)).text()
  assert.equal(await (await service.register(secret, { name: 'a', plan: '' }, key)).text(), first)
})

test('the response to a request without a token leads to all documents, and every link works', async (t) => {
  const { reach } = await startBehindGateway(t)
  const refused = await reach(`${PUBLIC_URL}/register`, { method: 'POST' })
  const { resource_metadata: metadataUrl = '' } = await readProblem(refused)
  const metadata = z
    .object({
      resource: z.literal(PUBLIC_URL),
      resource_name: z.string(),
      bearer_methods_supported: z.tuple([z.literal('header')]),
      resource_documentation: z.string(),
    })
    .parse(await (await reach(metadataUrl)).json())

  const text = await reach(metadata.resource_documentation)
  assert.match(text.headers.get('content-type') ?? '', /^text\/plain/)
  const links = [...(text.headers.get('link') ?? '').matchAll(/<([^>]+)>; rel="([\w-]+)"/g)]
  assert.deepEqual(
    links.map(([, , rel]) => rel),
    ['api-catalog', 'service-desc', 'service-doc', 'service-doc', 'service-meta', 'status'],
  )
  for (const [, href = ''] of links) assert.equal((await reach(href)).status, 200, href)

  const catalogUrl = links[0]?.[1] ?? ''
  const catalog = await reach(catalogUrl)
  assert.match(catalog.headers.get('content-type') ?? '', /^application\/linkset\+json; profile=/)
  const head = await reach(catalogUrl, { method: 'HEAD' })
  assert.match(head.headers.get('link') ?? '', /rel="api-catalog"/)
  const hrefs = [...(await catalog.text()).matchAll(/"href":"([^"]+)"/g)].map(([, href = '']) => href)
  assert.ok(hrefs.length >= 5)
  for (const href of hrefs) assert.equal((await reach(href)).status, 200, href)
})

test('/llms.txt has the request, the response, and the next step for every error', async (t) => {
  const { reach } = await startBehindGateway(t)
  const text = await (await reach(`${PUBLIC_URL}/llms.txt`)).text()
  assert.ok(text.includes(`POST ${PUBLIC_URL}/register`))
  for (const field of ['Idempotency-Key', 'api_key_value', 'management', 'x-api-key'])
    assert.ok(text.includes(field), field)
  for (const [code, { nextStep }] of Object.entries(errorCatalogue))
    assert.ok(text.includes(`| ${code} | `) && text.includes(nextStep), code)
  assert.ok(text.length < 10_000, 'it is short')
})

test('the type of a problem is the URL of a page, as JSON or HTML by Accept', async (t) => {
  const { reach } = await startBehindGateway(t)
  const refused = await reach(`${PUBLIC_URL}/register`, { method: 'POST' })
  const { type } = z.object({ type: z.string() }).parse(await refused.json())
  const page = await reach(type, { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } })
  assert.match(page.headers.get('content-type') ?? '', /^text\/html/)
  assert.match(page.headers.get('content-security-policy') ?? '', /default-src 'none'/)
  assert.match(await page.text(), /<h1>A token is required<\/h1>/)
  for (const accept of ['application/json', '*/*']) {
    const json = await reach(type, { headers: { accept } })
    assert.equal(json.headers.get('vary'), 'Accept')
    assert.equal(((await json.json()) as { code: string }).code, 'missing_token')
  }
  for (const code of Object.keys(errorCatalogue)) {
    const every = await reach(`${PUBLIC_URL}/problems/${code}`, { headers: { accept: 'text/html' } })
    assert.equal(every.status, 200)
  }
  const unknown = await reach(`${PUBLIC_URL}/problems/%3Cscript%3E`, { headers: { accept: 'text/html' } })
  assert.equal(unknown.status, 404)
  assert.ok(!(await unknown.text()).includes('<script>'))
})
