import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import {
  APIGatewayClient,
  CreateApiKeyCommand,
  CreateBasePathMappingCommand,
  CreateDeploymentCommand,
  CreateDomainNameCommand,
  CreateRestApiCommand,
  CreateUsagePlanCommand,
  DeleteStageCommand,
  UpdateMethodCommand,
  UpdateRestApiCommand,
  UpdateUsagePlanCommand,
} from '@aws-sdk/client-api-gateway'
import type { Gateway } from '../../emulator/gateway.ts'
import { defaultGatewayOptions, type GatewayOptions } from '../../emulator/options.ts'
import { CannotLookError, createRestApiReads } from '../../src/aws/rest-apis.ts'
import { readGatewayConfig } from '../../src/config.ts'
import { methodKey, methodThrottlePath } from '../../src/setup/changes.ts'
import { type Diagnosis, diagnose, type Question } from '../../src/setup/diagnose.ts'
import { readAccountFacts } from '../../src/setup/facts.ts'
import type { Finding } from '../../src/setup/finding.ts'
import { startForwardProxy } from '../support/forward-proxy.ts'
import { testGateway } from '../support/service.ts'

interface World {
  readonly gateway: Gateway
  readonly sdk: APIGatewayClient
  readonly env: Record<string, string>
  look(question?: Partial<Question>, env?: Record<string, string>): Promise<Diagnosis>
}

const { accessKeyId, secretAccessKey, region } = defaultGatewayOptions
process.env['AWS_ACCESS_KEY_ID'] = accessKeyId
process.env['AWS_SECRET_ACCESS_KEY'] = secretAccessKey

/** A policy that allows to read these paths. */
const allow = (...paths: string[]) => ({
  Version: '2012-10-17' as const,
  Statement: [
    {
      Effect: 'Allow' as const,
      Action: 'apigateway:GET',
      Resource: paths.map((path) => `arn:aws:apigateway:eu-west-1::${path}`),
    },
  ],
})

/** The gateway's own API `demo` with the plans free and gold, all healthy. */
async function createWorld(t: TestContext, options: Partial<GatewayOptions> = {}): Promise<World> {
  const gateway = await testGateway(t, options)
  const credentials = { accessKeyId, secretAccessKey }
  const sdk = new APIGatewayClient({ region, endpoint: gateway.url, credentials })
  t.after(() => sdk.destroy())
  const env = {
    AWS_REGION: region,
    AWS_ENDPOINT_URL_API_GATEWAY: gateway.url,
    AWS_CALLS_PER_SECOND: '0',
    USAGE_PLANS: 'free=demofree,gold=demogold',
    API_BASE_URL: `${gateway.url}/execute-api/demo/prod/hello`,
  }
  return {
    ...{ gateway, sdk, env },
    async look(question = {}, others = {}) {
      const environment = readGatewayConfig({ ...env, ...others })
      const reads = createRestApiReads({
        ...{ region: environment.region, endpoint: gateway.url, callsPerSecond: environment.callsPerSecond },
        ...{ callTimeoutMs: 60_000, observeDate: () => undefined, signal: AbortSignal.timeout(120_000) },
      })
      const before = gateway.calls.length
      try {
        return await diagnose(reads, environment, { api: null, stage: null, key: null, ...question })
      } finally {
        reads.close()
        for (const { method, operation } of gateway.calls.slice(before))
          assert.equal(method, 'GET', operation)
      }
    },
  }
}

const notOk = ({ findings }: Diagnosis) => findings.filter(({ status }) => status !== 'ok')

/** Returns the only finding that is not ok. */
function only(diagnosis: Diagnosis): Finding {
  const [first, ...others] = notOk(diagnosis)
  assert.deepEqual(others, [])
  assert.ok(first)
  return first
}

test('an API that a key opens is healthy, however doctor finds it', async (t) => {
  const { look } = await createWorld(t)
  const ways: [question: Partial<Question>, env: Record<string, string>][] = [
    [{}, {}],
    [{}, { API_PROBE_PATH: '/status' }],
    [{}, { API_BASE_URL: '' }],
    [{}, { USAGE_PLANS: '' }],
    [{}, { USAGE_PLANS: '', USAGE_PLAN_ID: 'demogold', API_BASE_URL: '' }],
    [{}, { USAGE_PLANS: '', API_BASE_URL: '' }],
    [{ api: 'demo', stage: 'prod' }, {}],
    [{ api: 'demo' }, { USAGE_PLANS: '', API_BASE_URL: '' }],
    [{ stage: 'prod' }, {}],
  ]
  for (const [question, env] of ways) {
    const diagnosis = await look(question, env)
    assert.deepEqual(notOk(diagnosis), [], JSON.stringify([question, env]))
    assert.deepEqual(diagnosis.targets, [{ api: 'demo', stage: 'prod' }])
    assert.equal(diagnosis.result, 'healthy')
  }
})

test('API_BASE_URL that leads elsewhere than the plans is named once, with the URL to set', async (t) => {
  const { look, gateway, sdk } = await createWorld(t, {
    httpApis: [{ apiId: 'http1', name: 'h' }],
  })
  await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'dev' }))
  const url = (api: string, stage: string) => `${gateway.url}/execute-api/${api}/${stage}`
  const right = `API_BASE_URL=${url('demo', 'prod')}`
  const cases: [wrong: string, message: RegExp, command: string | RegExp][] = [
    [
      url('demo', 'dev'),
      /leads to demo:dev, which no plan covers; the plans cover demo:prod/,
      /^aws .*\n.*value=demo:dev/,
    ],
    [url('demo', 'prdo'), /leads to demo:prdo, which does not exist; the plans cover demo:prod/, right],
    [url('other1', 'prod'), /leads to other1:prod, which does not exist/, right],
    [
      'https://demo.execute-api.us-east-1.amazonaws.com/prod',
      /is in us-east-1, and AWS_REGION is eu-west-1/,
      /eu-west-1\.amazonaws\.com\/prod$/,
    ],
    [
      'http://demo.execute-api.eu-west-1.amazonaws.com/prod',
      /begins with http:/,
      /^API_BASE_URL=https:\/\/demo\./,
    ],
    [
      'https://demo.execute-api.eu-west-1.amazonaws.com',
      /names no stage/,
      /eu-west-1\.amazonaws\.com\/prod$/,
    ],
    [`${url('demo', 'prod')}/hallo`, /leads to \/hallo, below which demo:prod has no method/, right],
  ]
  for (const [API_BASE_URL, message, command] of cases) {
    const diagnosis = await look({}, { API_BASE_URL, API_PROBE_PATH: '/hello' })
    const { check, status, message: found, mend, where } = only(diagnosis)
    assert.deepEqual([check, status], ['base-url', 'fault'], API_BASE_URL)
    assert.match(found, message)
    assert.equal(where.variable, 'API_BASE_URL')
    if (typeof command === 'string') assert.equal(mend?.command, command)
    else assert.match(mend?.command ?? '', command)
    assert.equal(diagnosis.result, 'faulty')
  }
  const http = only(await look({}, { API_BASE_URL: url('http1', 'prod') }))
  assert.deepEqual([http.check, http.mend?.command], ['rest-api', right])
  const elsewhere = { API_BASE_URL: 'https://demo.execute-api.us-east-1.amazonaws.com/prod' }
  const region = only(await look({}, { ...elsewhere, USAGE_PLANS: 'a=other1,b=other2' }))
  assert.deepEqual([region.check, region.mend?.command], ['base-url', 'AWS_REGION=us-east-1'])
})

test('a trailing slash, a doubled one and capital letters in API_BASE_URL change nothing', async (t) => {
  const { look, gateway } = await createWorld(t)
  const base = gateway.url
  for (const API_BASE_URL of [`${base}/execute-api/demo/prod/`, `${base}//execute-api//demo/prod//hello/`])
    assert.deepEqual(notOk(await look({}, { API_BASE_URL })), [], API_BASE_URL)
})

test('a custom domain is followed to its stage', async (t) => {
  const { look, sdk } = await createWorld(t)
  const domainName = 'api.example.com'
  const map = (basePath: string, stage?: string) =>
    sdk.send(new CreateBasePathMappingCommand({ domainName, basePath, restApiId: 'demo', stage }))
  const { mend: none, ...unknown } = only(await look({}, { API_BASE_URL: `https://${domainName}/v1` }))
  assert.equal(none, undefined)
  assert.equal(unknown.status, 'not_checked')
  assert.match(unknown.message, /api\.example\.com is no custom domain of API Gateway in eu-west-1/)

  const regionalCertificateArn = 'arn:aws:acm:eu-west-1:123456789012:certificate/1'
  const endpointConfiguration = { types: ['REGIONAL' as const] }
  await sdk.send(new CreateDomainNameCommand({ domainName, regionalCertificateArn, endpointConfiguration }))
  const missing = only(await look({}, { API_BASE_URL: `https://${domainName}/v1/hello` }))
  assert.deepEqual([missing.check, missing.status], ['domain-mapping', 'fault'])
  assert.equal(
    missing.mend?.command,
    'aws apigateway create-base-path-mapping --domain-name api.example.com --rest-api-id demo --stage prod --base-path v1 --region eu-west-1',
  )
  await map('v1', 'prod')
  await map('any')
  for (const path of ['v1', 'v1/hello', 'any/prod/hello'])
    assert.deepEqual(notOk(await look({}, { API_BASE_URL: `https://${domainName}/${path}` })), [], path)
  assert.match(
    only(await look({}, { API_BASE_URL: `https://${domainName}/any` })).message,
    /no stage is named/,
  )

  await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'dev' }))
  await map('v2', 'dev')
  const elsewhere = only(await look({}, { API_BASE_URL: `https://${domainName}/v2` }))
  assert.deepEqual([elsewhere.check, elsewhere.status], ['domain-mapping', 'fault'])
  assert.match(
    elsewhere.mend?.command ?? '',
    /update-base-path-mapping .*--base-path v2 .*value=demo .*value=prod /,
  )
})

test('API_PROBE_PATH has to lead to a method that needs a key', async (t) => {
  const { look, gateway, sdk } = await createWorld(t)
  const API_BASE_URL = `${gateway.url}/execute-api/demo/prod`
  const probe = (API_PROBE_PATH: string) => look({}, { API_BASE_URL, API_PROBE_PATH })
  for (const path of ['/hello', '/hello/', '/hello/a/b?c=d'])
    assert.deepEqual(notOk(await probe(path)), [], path)
  const wrong: [path: string, message: RegExp][] = [
    ['/ping', /which API Gateway answers itself/],
    ['/sping/', /which API Gateway answers itself/],
    ['/', /leads to GET \/, which is no method of demo:prod/],
    ['/hallo', /leads to GET \/hallo, which is no method/],
  ]
  for (const [path, message] of wrong) {
    const { check, status, message: found, mend } = only(await probe(path))
    assert.deepEqual([check, status], ['probe-path', 'fault'])
    assert.match(found, message)
    assert.equal(mend?.command, 'API_PROBE_PATH=/hello')
  }

  const hello = [...gateway.account.restApis.get('demo').resources.values()].find(
    ({ path }) => path === '/hello',
  )
  const open = { restApiId: 'demo', resourceId: hello?.id, httpMethod: 'ANY' }
  const patchOperations = [{ op: 'replace' as const, path: '/apiKeyRequired', value: 'false' }]
  await sdk.send(new UpdateMethodCommand({ ...open, patchOperations }))
  await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'prod' }))
  const { check, message, mend } = only(await probe('/hello'))
  assert.equal(check, 'probe-path')
  assert.match(message, /leads to ANY \/hello, which needs no key/)
  assert.match(mend?.command ?? '', /update-method .*value=true.*\n.*create-deployment/)
  assert.match(mend?.note ?? '', /API_PROBE_PATH=\/hello\/status/)
})

test('a path that API Gateway answers itself is not proposed for API_PROBE_PATH', async (t) => {
  const methods = ['/ping', '/status'].map((path) => ({ path, httpMethod: 'GET', apiKeyRequired: true }))
  const { look, gateway } = await createWorld(t, {
    restApis: [{ id: 'demo', name: 'demo', stages: ['prod'], methods }],
  })
  const API_BASE_URL = `${gateway.url}/execute-api/demo/prod`
  for (const API_PROBE_PATH of ['/ping', '/nothing'])
    assert.equal(
      only(await look({}, { API_BASE_URL, API_PROBE_PATH })).mend?.command,
      'API_PROBE_PATH=/status',
    )
})

test('a usage plan that does not exist, and one that two names share, are named', async (t) => {
  const { look } = await createWorld(t)
  const missing = only(await look({}, { USAGE_PLANS: 'free=demofree,gold=demogolf' }))
  assert.deepEqual([missing.check, missing.status, missing.where.plan], ['plan', 'fault', 'gold'])
  assert.match(missing.message, /there is no usage plan demogolf in eu-west-1 \(did you mean "demogold"\?\)/)
  assert.equal(missing.mend?.command, 'USAGE_PLANS=free=demofree,gold=demogold')
  const shared = only(await look({}, { USAGE_PLANS: 'free=demogold,gold=demogold' }))
  assert.deepEqual([shared.check, shared.status], ['plan-overlap', 'warning'])
})

test('a stage that was deleted is one fault, and its mend puts it on the plans again', async (t) => {
  const { look, sdk, gateway } = await createWorld(t)
  await sdk.send(new DeleteStageCommand({ restApiId: 'demo', stageName: 'prod' }))
  assert.deepEqual(gateway.account.plan('demofree').apiStages, [])
  const { check, status, mend, message } = only(await look())
  assert.deepEqual([check, status], ['stage', 'fault'])
  assert.match(message, /the API demo has no stage prod: it was never deployed, or the stage was deleted$/)
  assert.match(mend?.command ?? '', /create-deployment .*\n.*demofree.*\n.*demogold/)
})

test('an API without a usage plan, and an HTTP API, are named', async (t) => {
  const { look, sdk } = await createWorld(t, { plans: [], httpApis: [{ apiId: 'http1', name: 'h' }] })
  const bare = only(await look({ api: 'demo', stage: 'prod' }, { USAGE_PLANS: '', API_BASE_URL: '' }))
  assert.deepEqual([bare.check, bare.status], ['plan-stage', 'fault'])
  assert.match(bare.mend?.command ?? '', /create-usage-plan .*apiId=demo,stage=prod/)
  const http = await look({ api: 'http1', stage: 'prod' }, { USAGE_PLANS: '', API_BASE_URL: '' })
  assert.match(only(http).message, /http1 is an HTTP API/)
  assert.equal(http.result, 'faulty')

  const none = { USAGE_PLANS: '', API_BASE_URL: '' }
  const refused: [question: Partial<Question>, others: Record<string, string>, message: RegExp][] = [
    [{}, none, /no usage plan covers a stage, and API_BASE_URL is not set: name the API/],
    [{ api: 'gone1', stage: 'prod' }, none, /there is no REST API gone1 in eu-west-1: ids .* Region/],
    [
      { api: 'demo', stage: 'porod' },
      none,
      /has no stage porod \(did you mean "prod"\?\); its stages are prod/,
    ],
    [{ stage: 'prod' }, none, /--stage needs --api/],
  ]
  for (const [question, others, message] of refused)
    await assert.rejects(
      look(question, others),
      (error) => error instanceof CannotLookError && message.test(error.message),
    )
  await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'dev' }))
  await assert.rejects(look({ api: 'demo' }, none), /has the stages prod, dev: choose one with --stage/)
  const { id } = await sdk.send(new CreateRestApiCommand({ name: 'x' }))
  await assert.rejects(
    look({ api: id ?? '' }, none),
    RegExp(`has no stage: .* create-deployment --rest-api-id ${id} --stage-name prod --region eu-west-1$`),
  )
})

test('an API that does not exist, or whose stages may not be read, is not called undeployed', async (t) => {
  const { look, gateway } = await createWorld(t, { plans: [] })
  const none = { USAGE_PLANS: '', API_BASE_URL: '' }
  const asked: [allowed: string[], api: string, message: RegExp][] = [
    [
      ['/restapis/*'],
      'gone1',
      /^there is no REST API gone1 in eu-west-1.* HTTP API.* may not read \/apis\/gone1$/,
    ],
    [['/restapis/*/stages'], 'gone1', /^there is no REST API gone1 in eu-west-1/],
    [['/restapis/gone1'], 'gone1', /^there is no REST API gone1 in eu-west-1/],
    [[], 'demo', /^the stages of the API demo cannot be read \(apigateway:GET on .*stages\): name one/],
  ]
  for (const [allowed, api, message] of asked) {
    gateway.policy = allow('/account', '/usageplans', ...allowed)
    await assert.rejects(
      look({ api }, none),
      (error) => error instanceof CannotLookError && message.test(error.message),
      allowed.join(),
    )
  }
})

test('all stages of the plans are checked if API_BASE_URL does not choose one', async (t) => {
  const { look, sdk } = await createWorld(t)
  await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'dev' }))
  const add = [{ op: 'add' as const, path: '/apiStages', value: 'demo:dev' }]
  await sdk.send(new UpdateUsagePlanCommand({ usagePlanId: 'demogold', patchOperations: add }))
  const both = await look({}, { API_BASE_URL: '' })
  assert.deepEqual(
    both.targets.map(({ stage }) => stage),
    ['prod', 'dev'],
  )
  assert.deepEqual(notOk(both), [])
  const chosen = await look()
  assert.deepEqual(
    chosen.targets.map(({ stage }) => stage),
    ['prod'],
  )
  assert.deepEqual(
    chosen.others.map(({ stage }) => stage),
    ['dev'],
  )
  const one = await look({ api: 'demo', stage: 'dev' })
  assert.match(only(one).message, /the plan "free" does not cover demo:dev, only demo:prod/)

  const rows = Array.from({ length: 11 }, (_, i) => ({ apiId: 'demo', stage: `s${i}` }))
  for (const { stage } of rows)
    await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: stage }))
  await sdk.send(new CreateUsagePlanCommand({ name: 'many', apiStages: rows }))
  await assert.rejects(
    look({}, { API_BASE_URL: '', USAGE_PLANS: '' }),
    /cover 13 stages: choose one with --api and --stage/,
  )
})

test('what a stack of CloudFormation owns is mended in its template', async (t) => {
  const { look, sdk, gateway } = await createWorld(t)
  const tags = { 'aws:cloudformation:stack-name': 'shop-prod' }
  gateway.account.restApis.get('demo').tags = tags
  await sdk.send(
    new UpdateRestApiCommand({
      restApiId: 'demo',
      patchOperations: [{ op: 'replace', path: '/apiKeySource', value: 'AUTHORIZER' }],
    }),
  )
  await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'prod' }))
  const { mend } = only(await look())
  assert.deepEqual([mend?.by, mend?.command], ['tool', null])
  assert.match(mend?.note ?? '', /stack "shop-prod".*CloudFormation: ApiKeySourceType .*CDK: .*SAM /)
  // The plan is not the stack's.
  gateway.account.plan('demogold').apiStages = []
  const [plan] = notOk(await look()).filter(({ check }) => check === 'plan-stage')
  assert.equal(plan?.mend?.by, 'aws')
})

test('what may not be read is not checked, with the permission that it wants', async (t) => {
  const { look, gateway } = await createWorld(t)
  const arn = (path: string) => `apigateway:GET on arn:aws:apigateway:eu-west-1::${path}`
  const all = [
    '/account',
    '/usageplans',
    '/restapis/demo',
    '/restapis/demo/stages',
    '/restapis/demo/resources',
  ]
  const deployment = gateway.account.restApis.get('demo').stages.get('prod')?.deploymentId ?? ''
  const deployed = [`/restapis/demo/deployments/${deployment}`, '/restapis/demo/stages/prod/exports/oas30']
  const without: [path: string, checks: string[]][] = [
    ['/account', ['account']],
    ['/restapis/demo/resources', ['not-deployed']],
    ['/restapis/demo/stages/prod/exports/oas30', ['key-source']],
    [
      `/restapis/demo/deployments/${deployment}`,
      ['key-required', 'options-open', 'not-deployed', 'authorization'],
    ],
  ]
  for (const [path, checks] of without) {
    gateway.policy = allow(...[...all, ...deployed].filter((one) => one !== path))
    const diagnosis = await look()
    assert.deepEqual(
      notOk(diagnosis).map(({ check, status, action }) => [check, status, action]),
      checks.map((check) => [check, 'not_checked', arn(path)]),
      path,
    )
    assert.equal(diagnosis.result, 'healthy')
  }
  gateway.policy = allow(
    '/usageplans/demofree',
    '/usageplans/demogold',
    ...all.filter((one) => one !== '/usageplans'),
    ...deployed,
  )
  assert.deepEqual(notOk(await look()), [])
  gateway.policy = allow('/usageplans')
  const blind = await look()
  assert.equal(blind.result, 'unknown')
  assert.ok(notOk(blind).some(({ action }) => action === arn('/restapis/demo')))
})

test('doctor goes on while API Gateway throttles, and a large API takes few calls', async (t) => {
  const { look, gateway } = await createWorld(t, {
    restApis: [
      {
        ...{ id: 'demo', name: 'a\u202e"\n$(id)', stages: ['prod'] },
        methods: Array.from({ length: 1_200 }, (_, i) => ({
          ...{ path: `/r${i}`, httpMethod: 'GET', apiKeyRequired: i > 0 },
        })),
      },
    ],
  })
  // One more than the SDK retries.
  gateway.faults.order({ operation: 'GetResources', when: 'before', kind: 'throttle', times: 4 })
  const { check, message } = only(await look({}, { API_BASE_URL: '' }))
  assert.deepEqual([check, message], ['key-required', 'GET /r0 needs no key'])
  const answered = gateway.calls.filter(({ status }) => status === 200)
  assert.ok(answered.length < 12, String(answered.length))
})

test('without USAGE_PLANS, a plan that lost its stage is named', async (t) => {
  const { look, gateway } = await createWorld(t)
  const [free, gold] = [gateway.account.plan('demofree'), gateway.account.plan('demogold')]
  const bare = { USAGE_PLANS: '', API_BASE_URL: '' }
  const places = async () =>
    notOk(await look({ api: 'demo', stage: 'prod' }, bare)).map(({ check, status, where, mend }) => [
      ...[check, status, where.usagePlanId, mend?.command?.includes('value=demo:prod')],
    ])
  gold.apiStages = []
  assert.deepEqual(await places(), [['plan-stage', 'warning', 'demogold', true]])
  free.apiStages = [{ apiId: 'demo', stage: 'old' }]
  assert.deepEqual(await places(), [
    ['plan-stage', 'fault', 'demofree', true],
    ['plan-stage', 'fault', 'demogold', true],
  ])
  gold.apiStages = [{ apiId: 'other1', stage: 'prod' }]
  assert.deepEqual(await places(), [['plan-stage', 'fault', 'demofree', true]])
})

test('plans that have no stage in common are named if nothing says which one is meant', async (t) => {
  const { look, sdk, gateway } = await createWorld(t)
  await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'dev' }))
  gateway.account.plan('demogold').apiStages = [{ apiId: 'demo', stage: 'dev' }]
  const { check, status, message } = only(await look({}, { API_BASE_URL: '' }))
  assert.deepEqual([check, status], ['plan-stage', 'warning'])
  assert.match(message, /free covers demo:prod, gold covers demo:dev/)
  assert.equal(only(await look()).where.plan, 'gold')
})

test('the command for a method throttle has the path that setup sends, and all commands have their Region', async (t) => {
  const { gateway, sdk, look } = await createWorld(t)
  const path = methodThrottlePath('demo:prod', methodKey({ httpMethod: 'GET', path: '/hello' }))
  const replace = (limit: string, value: string) => ({
    op: 'replace' as const,
    path: `${path}/${limit}`,
    value,
  })
  const patchOperations = [replace('rateLimit', '0'), replace('burstLimit', '5')]
  await sdk.send(new UpdateUsagePlanCommand({ usagePlanId: 'demogold', patchOperations }))
  Object.assign(gateway.account.restApis.get('demo'), { policy: '{"Statement":[]}' })
  const { findings } = await look()
  const mendOf = (check: string) => findings.find((one) => one.check === check && one.status !== 'ok')?.mend
  assert.match(
    mendOf('plan-limits')?.command ?? '',
    /op=remove,path=\/apiStages\/demo:prod\/throttle\/\/hello\/GET /,
  )
  assert.match(
    mendOf('resource-policy')?.note ?? '',
    /get-rest-api --rest-api-id demo --region eu-west-1 shows it/,
  )
})

test('an API of many open methods is mended by one command', async (t) => {
  const methods = Array.from({ length: 30 }, (_, i) => ({
    ...{ path: `/r${i}`, httpMethod: 'GET', apiKeyRequired: false },
  }))
  const { look } = await createWorld(t, { restApis: [{ id: 'demo', name: 'd', stages: ['prod'], methods }] })
  const { check, status, mend } = only(await look({}, { API_BASE_URL: '' }))
  assert.deepEqual([check, status, mend?.by], ['key-required', 'fault', 'firstkey'])
  assert.equal(mend?.command, 'firstkey setup --api demo --stage prod --methods all --yes')
})

test('an API with OPTIONS alone has no method that a key opens', async (t) => {
  const methods = [{ path: '/', httpMethod: 'OPTIONS', apiKeyRequired: false }]
  const { look } = await createWorld(t, { restApis: [{ id: 'demo', name: 'd', stages: ['prod'], methods }] })
  const { check, status, message } = only(await look({}, { API_BASE_URL: '' }))
  assert.deepEqual([check, status], ['key-required', 'fault'])
  assert.match(message, /has no methods but OPTIONS$/)
})

test('a canary shows which methods it opens', async (t) => {
  const { look, gateway, sdk } = await createWorld(t)
  const hello = [...gateway.account.restApis.get('demo').resources.values()].find(
    ({ path }) => path === '/hello',
  )
  const change = (value: string) =>
    sdk.send(
      new UpdateMethodCommand({
        ...{ restApiId: 'demo', resourceId: hello?.id, httpMethod: 'ANY' },
        patchOperations: [{ op: 'replace', path: '/apiKeyRequired', value }],
      }),
    )
  await change('false')
  const canarySettings = { percentTraffic: 25 }
  await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'prod', canarySettings }))
  await change('true')
  const { check, status, message } = only(await look())
  assert.deepEqual([check, status], ['canary', 'warning'])
  assert.match(message, /^25 % .* where other methods open \(without a key: ANY \/hello\)$/)
  const stage = gateway.account.restApis.get('demo').stages.get('prod')
  assert.ok(stage)
  stage.tags = { 'aws:cloudformation:stack-name': 'shop-prod' }
  const { mend } = only(await look())
  assert.deepEqual([mend?.by, mend?.command], ['tool', null])
  assert.match(mend?.note ?? '', /CanarySetting/)
})

test('a key that is no more than new is asked of the data plane', async (t) => {
  const { look, gateway, sdk } = await createWorld(t, { propagationMs: 60_000 })
  const { id = '', value = '' } = await sdk.send(new CreateApiKeyCommand({ name: 'k', enabled: true }))
  gateway.account.attach('demogold', id)
  const early = only(await look({ key: value }))
  assert.deepEqual([early.check, early.status, early.where.keyId], ['data-plane', 'fault', id])
  assert.match(early.why ?? '', /from seconds to minutes/)
  assert.ok(!JSON.stringify(early).includes(value))
})

test('of several APIs, the one that the plan of the key covers is asked', async (t) => {
  const methods = [{ path: '/hello', httpMethod: 'GET', apiKeyRequired: true }]
  const ids = ['first', 'second'] as const
  const { look, gateway } = await createWorld(t, {
    restApis: ids.map((id) => ({ id, name: id, stages: ['prod'], methods })),
    plans: ids.map((id) => ({ id: `plan${id}`, name: id, apiStages: [{ apiId: id, stage: 'prod' }] })),
  })
  const proxy = await startForwardProxy(t)
  proxy.behaviour = 403
  const { id, value } = gateway.account.createKey({ name: 'k', enabled: true })
  gateway.account.attach('plansecond', id)
  const env = { AWS_ENDPOINT_URL_API_GATEWAY: '', API_BASE_URL: '', HTTPS_PROXY: proxy.url }
  const { findings } = await look({ key: value }, { ...env, USAGE_PLANS: 'gold=planfirst,silver=plansecond' })
  assert.deepEqual(
    new Set(proxy.requests),
    new Set(['CONNECT second.execute-api.eu-west-1.amazonaws.com:443']),
  )
  assert.equal(findings.find(({ check }) => check === 'data-plane')?.where.api, 'second')
})

test('a key that GET /hello refuses does not make the authorization of another method a fault', async (t) => {
  const methods = ['/hello', '/admin'].map((path) => ({ path, httpMethod: 'GET', apiKeyRequired: true }))
  const { look, gateway, sdk } = await createWorld(t, {
    ...{ propagationMs: 60_000, restApis: [{ id: 'demo', name: 'd', stages: ['prod'], methods }] },
  })
  const admin = [...gateway.account.restApis.get('demo').resources.values()].find(
    ({ path }) => path === '/admin',
  )
  await sdk.send(
    new UpdateMethodCommand({
      ...{ restApiId: 'demo', resourceId: admin?.id, httpMethod: 'GET' },
      patchOperations: [{ op: 'replace', path: '/authorizationType', value: 'AWS_IAM' }],
    }),
  )
  await sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'prod' }))
  const { id, value } = gateway.account.createKey({ name: 'k', enabled: true })
  gateway.account.attach('demogold', id)
  const API_BASE_URL = `${gateway.url}/execute-api/demo/prod`
  const probe = async (API_PROBE_PATH: string) =>
    notOk(await look({ key: value }, { API_BASE_URL, API_PROBE_PATH })).map(({ check, status }) => [
      ...[check, status],
    ])
  assert.deepEqual(await probe('/hello'), [
    ['authorization', 'warning'],
    ['data-plane', 'fault'],
  ])
  assert.deepEqual(await probe('/admin'), [['authorization', 'fault']])
})

test('the quota of a week or a month that was used up on an earlier day is read', async (t) => {
  const { gateway, env } = await createWorld(t)
  const environment = readGatewayConfig(env)
  const reads = createRestApiReads({
    ...{ region, endpoint: gateway.url, callsPerSecond: 0, callTimeoutMs: 60_000 },
    ...{ observeDate: () => undefined, signal: AbortSignal.timeout(120_000) },
  })
  t.after(() => reads.close())
  const { id, value } = gateway.account.createKey({ name: 'k', enabled: true })
  gateway.account.attach('demogold', id)
  const froms = { DAY: '2026-03-31', WEEK: '2026-03-25', MONTH: '2026-03-01' }
  for (const [period, from] of Object.entries(froms) as [keyof typeof froms, string][]) {
    gateway.account.plan('demogold').quota = { limit: 5, period }
    const ranges: string[] = []
    const watched: typeof reads = {
      ...reads,
      usage(query) {
        ranges.push(`${query.from} ${query.to}`)
        return reads.usage(query)
      },
    }
    const noon = () => Date.parse('2026-03-31T12:00:00Z')
    const { key } = await readAccountFacts(watched, environment, value, noon)
    assert.deepEqual(ranges, [`${from} 2026-03-31`])
    assert.deepEqual(key?.remaining.get('demogold'), { known: true, value: 5 })
  }
})

test('a list of as many pages as are read is whole, and a longer one is not known', async (t) => {
  let pages = 40
  const server = createServer((incoming, outgoing) => {
    const page = Number(new URL(incoming.url ?? '', 'http://x').searchParams.get('position') ?? 1)
    const position = page < pages ? { position: String(page + 1) } : {}
    outgoing.setHeader('Content-Type', 'application/json')
    outgoing.end(JSON.stringify({ item: [{ id: `p${page}`, name: 'p' }], ...position }))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const reads = createRestApiReads({
    ...{ region, endpoint: `http://127.0.0.1:${port}`, callsPerSecond: 0, callTimeoutMs: 60_000 },
    ...{ observeDate: () => undefined, signal: AbortSignal.timeout(120_000) },
  })
  t.after(() => {
    reads.close()
    server.close()
  })
  const whole = await reads.plans()
  assert.equal(whole.known && whole.value.length, 40)
  pages = 41
  const long = await reads.plans()
  assert.match(long.known ? '' : long.why, /there are more than 40 pages of them/)
})
