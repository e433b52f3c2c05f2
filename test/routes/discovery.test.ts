import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import * as oauth from 'oauth4webapi'
import { z } from 'zod'
import { ISSUER_KINDS } from '../../src/auth/federation/issuer-kinds.ts'
import { errorCatalogue } from '../../src/error-catalogue.ts'
import {
  decide,
  logIn as logInAtProvider,
  startLoginService,
  startProgram,
} from '../support/identity/login.ts'
import { readProblem } from '../support/problem.ts'
import { dataPlane, startService, tempDir } from '../support/service.ts'

const PUBLIC_URL = 'https://keys.example.com/base'

/** Starts a service that callers reach at {@link PUBLIC_URL}. `reach` fetches such a URL from the service. */
async function startBehindGateway(t: TestContext, env: Record<string, string> = {}) {
  const service = await startService(t, { env: { PUBLIC_URL, ...env } })
  const reach = (url: string, init?: RequestInit) => {
    assert.ok(url.startsWith(`${PUBLIC_URL}/`), `${url} is below PUBLIC_URL`)
    return fetch(service.url + url.slice(PUBLIC_URL.length), init)
  }
  return { service, reach }
}

const WORKLOADS = `
audience: urn:firstkey:test
issuers:
  ci: { kind: github }
  pods: { kind: kubernetes, issuer: https://kubernetes.default.svc, jwks_uri: https://keys.example.com/jwks }
rules:
  - id: secret-rule
    issuer: ci
    match: { repository_id: "42424242" }
    grant: { plans: [free], key_ttl: 24h, max_live: 5 }
`
const LOGIN = `
issuers:
  staff:
    kind: oidc
    issuer: https://login.example.com
    login: { client_id: firstkey, client_secret_env: OIDC_SECRET }
rules:
  - id: secret-rule
    issuer: staff
    match: { email: alice@example.com }
    grant: { plans: [free], key_ttl: 24h, max_live: 5 }
`

/** Writes a trust file and returns the variables of a service that uses it. */
function trusting(t: TestContext, text: string) {
  const file = join(tempDir(t), 'trust.yaml')
  writeFileSync(file, text)
  return { TRUST_FILE: file, OIDC_SECRET: 'the-secret-of-the-client-firstkey' }
}

/** Returns the onboarding descriptor, which must match the schema of AOD 0.1. */
async function readDescriptor(reach: (url: string) => Promise<Response>): Promise<unknown> {
  const answer = await reach(`${PUBLIC_URL}/.well-known/api-onboarding`)
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
  const descriptor = await answer.json()
  const schema = JSON.parse(readFileSync(join(import.meta.dirname, '../support/aod.schema.json'), 'utf8'))
  const ajv = new Ajv2020({ allErrors: true, strict: false })
  addFormats.default(ajv)
  const validate = ajv.compile(schema)
  assert.ok(validate(descriptor), JSON.stringify(validate.errors))
  return descriptor
}

test('the onboarding descriptor matches its schema (AOD 0.1) and describes this deployment', async (t) => {
  const { reach } = await startBehindGateway(t)
  const { maturity, account, credentials } = z
    .looseObject({
      maturity: z.string(),
      account: z.looseObject({
        agentPolicy: z.string(),
        plans: z.array(z.looseObject({ name: z.string() })),
      }),
      credentials: z.array(z.looseObject({ type: z.string() })),
    })
    .parse(await readDescriptor(reach))
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

const descriptorSchema = z.looseObject({
  registration: z.object({
    mechanisms: z.array(
      z.looseObject({
        type: z.string(),
        authorizationEndpoint: z.string().optional(),
        tokenEndpoint: z.string().optional(),
        publicClientId: z.string().optional(),
        redirectUri: z.string().optional(),
      }),
    ),
  }),
  authentication: z.object({ methods: z.array(z.looseObject({ id: z.string(), type: z.string() })) }),
  flow: z.object({
    args: z.array(
      z.object({ name: z.string(), required: z.boolean(), default: z.string().optional() }).loose(),
    ),
    steps: z.array(
      z
        .object({
          id: z.string(),
          skipIf: z.string().optional(),
          auth: z.string(),
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
type Descriptor = z.infer<typeof descriptorSchema>

/** Expands a template of a descriptor: `{env.VAR}`, `{arg.name}`, `{steps.<id>.<json.path>}`, and the first of several with `||`. */
function expand(template: string, scope: object): string {
  const valueAt = (path: string) =>
    path.split('.').reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], scope)
  return template.replace(/\{([\w.| ]+)\}/g, (_whole, paths: string) => {
    const values = paths.split('||').map((path) => valueAt(path.trim()) ?? '')
    return String(values.find((value) => value !== '') ?? '')
  })
}

/**
 * Runs the flow of a descriptor as a generic engine does. @param token the value of FIRSTKEY_TOKEN
 * @returns the outputs, or the message of the step that failed
 */
async function runFlow(
  { flow, authentication, registration }: Descriptor,
  reach: (url: string, init?: RequestInit) => Promise<Response>,
  token: string,
  logIn: (mechanism: Descriptor['registration']['mechanisms'][number]) => Promise<string> = async () =>
    assert.fail('no login is expected'),
): Promise<Record<string, string> | string> {
  const arg = Object.fromEntries(flow.args.map(({ name, default: value }) => [name, value ?? 'acme-agent']))
  const steps: Record<string, unknown> = {}
  const scope = { env: { FIRSTKEY_TOKEN: token }, arg, steps }
  const expandAll = (fields: Record<string, string>) =>
    Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, expand(text, scope)]))
  for (const { id, skipIf = '', auth, request, onStatus } of flow.steps) {
    if (expand(skipIf, scope) !== '') continue
    const method = authentication.methods.find((one) => one.id === auth) ?? assert.fail()
    const headers = expandAll(request.headers)
    if (method.type === 'oauth-pkce-browser') {
      const mechanism = registration.mechanisms.find(({ type }) => type === 'browser-oauth') ?? assert.fail()
      headers['authorization'] = `Bearer ${await logIn(mechanism)}`
    }
    const answer = await reach(expand(request.url, scope), {
      method: request.method,
      headers,
      body: JSON.stringify(expandAll(request.body)),
    })
    const { action, message = '' } = onStatus[answer.status] ?? { action: 'fail', message: 'undocumented' }
    if (action === 'fail') return message
    steps[id] = await answer.json()
  }
  return expandAll(flow.outputs)
}

const outputsSchema = z.record(z.string(), z.string())

test('a generic engine can register with the onboarding descriptor alone', async (t) => {
  const { service, reach } = await startBehindGateway(t)
  const { secret } = await service.token({ maxUses: 1 })
  const descriptor = descriptorSchema.parse(await readDescriptor(reach))
  const outputs = outputsSchema.parse(await runFlow(descriptor, reach, secret))
  assert.equal(await dataPlane(service, outputs['api_key'] ?? ''), 200)
  assert.equal(outputs['client_secret'], outputs['api_key'])
  assert.equal(outputs['client_id'], outputs['api_key_id'])
  assert.equal(outputs['usage_plan_id'], 'demofree')
  assert.match(outputs['management_token'] ?? '', /^fkm_/)
  assert.match(String(await runFlow(descriptor, reach, secret)), /no uses left/)
  assert.match(String(await runFlow(descriptor, reach, 'fkb_wrong')), /ask the operator/)
})

test('a generic engine lets a person log in if it has no token', async (t) => {
  const service = await startLoginService(t)
  const descriptor = descriptorSchema.parse(
    await (await fetch(`${service.url}/.well-known/api-onboarding`)).json(),
  )
  const logIn: Parameters<typeof runFlow>[3] = async (mechanism) => {
    const { authorizationEndpoint, tokenEndpoint = '', publicClientId = '', redirectUri = '' } = mechanism
    const { url, verifier } = startProgram(service.publicUrl, {
      client_id: publicClientId,
      redirect_uri: redirectUri,
    })
    assert.equal(url.split('?')[0], authorizationEndpoint)
    const { browser, page } = await logInAtProvider(url)
    const { code = '' } = await decide(browser, page)
    const form = { client_id: publicClientId, redirect_uri: redirectUri, code, code_verifier: verifier }
    const answer = await fetch(tokenEndpoint, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'authorization_code', ...form }),
    })
    return z.looseObject({ access_token: z.string() }).parse(await answer.json()).access_token
  }
  const outputs = outputsSchema.parse(await runFlow(descriptor, fetch, '', logIn))
  assert.equal(await dataPlane(service, outputs['api_key'] ?? ''), 200)
  assert.match(outputs['management_url'] ?? '', /\/register\/reg_/)
  const { secret } = await service.token({ maxUses: 1 })
  const withToken = outputsSchema.parse(await runFlow(descriptor, fetch, secret))
  assert.equal(await dataPlane(service, withToken['api_key'] ?? ''), 200)
})

test('an engine may leave out an optional argument, in each way that there is, and may choose a plan', async (t) => {
  const { service, reach } = await startBehindGateway(t)
  const { secret } = await service.token({ plans: ['free', 'gold'] })
  const { flow } = descriptorSchema.parse(await readDescriptor(reach))
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

const WELL_KNOWN = `${PUBLIC_URL}/.well-known/oauth-authorization-server`
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

const described = z.looseObject({
  maturity: z.string(),
  authentication: z.object({
    methods: z.array(z.looseObject({ type: z.string(), audience: z.string().optional() })),
  }),
  registration: z.object({ mechanisms: z.array(z.looseObject({ type: z.string() })) }),
})

/** Returns what the documents say about identities. */
async function readDocuments(reach: (url: string, init?: RequestInit) => Promise<Response>) {
  const server = await reach(WELL_KNOWN)
  const resource = z
    .looseObject({
      authorization_servers: z.array(z.string()).optional(),
      identity_token_audience: z.string().optional(),
    })
    .parse(await (await reach(`${PUBLIC_URL}/.well-known/oauth-protected-resource`)).json())
  const { maturity, authentication, registration } = described.parse(await readDescriptor(reach))
  const catalog = await (await reach(`${PUBLIC_URL}/.well-known/api-catalog`)).text()
  const guide = await (await reach(`${PUBLIC_URL}/llms.txt`)).text()
  const home = (accept: string) => reach(`${PUBLIC_URL}/`, { headers: { accept } })
  assert.equal(await (await home('text/plain')).text(), guide)
  assert.equal(await (await home('application/json')).text(), catalog)
  const script = await (await reach(`${PUBLIC_URL}/register.mjs`)).text()
  return {
    server: server.status === 200 ? await server.json() : (await readProblem(server)).code,
    servers: resource.authorization_servers,
    audience: resource.identity_token_audience,
    maturity,
    methods: authentication.methods.map(({ type, audience }) => [type, audience]),
    mechanisms: registration.mechanisms.map(({ type }) => type),
    isListed: catalog.includes(WELL_KNOWN),
    scriptAudience: script.match(/^const AUDIENCE = (.*)$/m)?.[1],
    guide,
  }
}

test('without a trust file no document speaks of identity tokens or a login', async (t) => {
  const { reach } = await startBehindGateway(t)
  const { guide, ...documents } = await readDocuments(reach)
  assert.deepEqual(documents, {
    ...{
      server: 'not_found',
      servers: undefined,
      audience: undefined,
      isListed: false,
      scriptAudience: '""',
    },
    ...{
      maturity: 'bootstrap-token',
      methods: [['bearer-env', undefined]],
      mechanisms: ['management-api', 'dcr'],
    },
  })
  assert.doesNotMatch(guide, /without a bootstrap token/i)
})

test('with a trust file the documents name the token endpoint, the audience and the kinds, and no rule', async (t) => {
  const { reach } = await startBehindGateway(t, trusting(t, WORKLOADS))
  const { guide, ...documents } = await readDocuments(reach)
  assert.deepEqual(documents, {
    server: {
      issuer: PUBLIC_URL,
      token_endpoint: `${PUBLIC_URL}/connect/token`,
      registration_endpoint: `${PUBLIC_URL}/connect/register`,
      grant_types_supported: [JWT_BEARER],
      response_types_supported: [],
      code_challenge_methods_supported: ['S256'],
      token_endpoint_auth_methods_supported: ['none'],
      service_documentation: `${PUBLIC_URL}/llms.txt`,
      identity_token_audience: 'urn:firstkey:test',
    },
    ...{ servers: [PUBLIC_URL], audience: 'urn:firstkey:test', isListed: true, maturity: 'bootstrap-token' },
    scriptAudience: '"urn:firstkey:test"',
    methods: [
      ['bearer-env', undefined],
      ['cloud-iam', 'urn:firstkey:test'],
    ],
    mechanisms: ['management-api', 'dcr'],
  })
  assert.match(guide, /exactly the audience `urn:firstkey:test`/)
  assert.match(guide, /^- GitHub Actions: /m)
  assert.match(guide, /^- Kubernetes: .*`audience: urn:firstkey:test`/m)
  assert.doesNotMatch(guide, /^- (?:AWS|GitLab|Google|Microsoft|OpenID)|--login/m)
  assert.doesNotMatch(guide + JSON.stringify(documents), /secret-rule|42424242/)
})

test('with a login the documents describe it, and the audience is the address of the service', async (t) => {
  const { reach } = await startBehindGateway(t, trusting(t, LOGIN))
  const { guide, ...documents } = await readDocuments(reach)
  assert.deepEqual(documents, {
    server: {
      issuer: PUBLIC_URL,
      authorization_endpoint: `${PUBLIC_URL}/connect/authorize`,
      token_endpoint: `${PUBLIC_URL}/connect/token`,
      registration_endpoint: `${PUBLIC_URL}/connect/register`,
      grant_types_supported: ['authorization_code', JWT_BEARER],
      response_types_supported: ['code'],
      code_challenge_methods_supported: ['S256'],
      authorization_response_iss_parameter_supported: true,
      token_endpoint_auth_methods_supported: ['none'],
      service_documentation: `${PUBLIC_URL}/llms.txt`,
      identity_token_audience: PUBLIC_URL,
    },
    ...{ servers: [PUBLIC_URL], audience: PUBLIC_URL, isListed: true, maturity: 'self-serve' },
    scriptAudience: JSON.stringify(PUBLIC_URL),
    methods: [
      ['oauth-pkce-browser', undefined],
      ['bearer-env', undefined],
      ['cloud-iam', PUBLIC_URL],
    ],
    mechanisms: ['browser-oauth', 'management-api', 'dcr'],
  })
  assert.match(guide, /node register\.mjs --name acme-agent --login/)
  assert.doesNotMatch(guide + JSON.stringify(documents), /secret-rule|login\.example\.com|the-secret/)
})

test('a trust file that changes while the service runs changes the documents', async (t) => {
  const { service, reach } = await startBehindGateway(t, trusting(t, WORKLOADS))
  const { federation } = service.deps
  assert.ok(federation)
  assert.equal((await readDocuments(reach)).maturity, 'bootstrap-token')
  writeFileSync(service.deps.config.trustFile ?? '', LOGIN)
  assert.deepEqual(federation.reload().faults, [])
  assert.equal((await readDocuments(reach)).maturity, 'self-serve')
})

test('an unmodified oauth4webapi finds and accepts the metadata, below a path too (RFC 8414, section 3)', async (t) => {
  const { service } = await startBehindGateway(t, trusting(t, LOGIN))
  const toService = (url: string) => fetch(service.url + new URL(url).pathname)
  const issuer = new URL(PUBLIC_URL)
  const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', [oauth.customFetch]: toService })
  const server = await oauth.processDiscoveryResponse(issuer, found)
  assert.equal(server.token_endpoint, `${PUBLIC_URL}/connect/token`)
  const resource = new URL(`${PUBLIC_URL}/register`)
  const described = await oauth.resourceDiscoveryRequest(resource, { [oauth.customFetch]: toService })
  const { authorization_servers } = await oauth.processResourceDiscoveryResponse(resource, described)
  assert.deepEqual(authorization_servers, [server.issuer])
  for (const path of ['/register', '/elsewhere', '/basement', '/base/register'])
    assert.equal((await readProblem(await toService(`${WELL_KNOWN}${path}`))).code, 'not_found', path)
})

/** The `issuer` of the kinds that have none of their own. */
const URLS: Readonly<Record<string, string>> = {
  kubernetes: ', issuer: https://kubernetes.default.svc',
  aws: ', issuer: https://abcd1234-ef56-7890-abcd-ef1234567890.tokens.sts.global.api.aws',
  entra: ', issuer: https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0',
  oidc: ', issuer: https://login.example.com',
}

test('/llms.txt says for every kind of issuer where its tokens come from', async (t) => {
  const issuers = ISSUER_KINDS.map((kind) => `  ${kind}: { kind: ${kind}${URLS[kind] ?? ''} }`).join('\n')
  const rules = WORKLOADS.slice(WORKLOADS.indexOf('rules:')).replace('issuer: ci', 'issuer: github')
  const { reach } = await startBehindGateway(t, trusting(t, `issuers:\n${issuers}\n${rules}`))
  const text = await (await reach(`${PUBLIC_URL}/llms.txt`)).text()
  assert.equal(text.match(/^- [A-Z][\w /]*: /gm)?.length, ISSUER_KINDS.length)
  assert.ok(text.length < 13_000, 'it is short')
})
