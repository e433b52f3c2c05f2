import assert from 'node:assert/strict'
import { test } from 'node:test'
import { testGateway } from '../support/service.ts'
import { openSetup, type SetupArguments } from '../support/setup-run.ts'

const METHODS = [
  { path: '/hello', httpMethod: 'GET', apiKeyRequired: false },
  { path: '/hello', httpMethod: 'OPTIONS', apiKeyRequired: false },
  { path: '/any', httpMethod: 'ANY', apiKeyRequired: false },
]

test('what the options name has to be there', async (t) => {
  const gateway = await testGateway(t, {
    restApis: [
      { id: 'bare', name: 'bare', stages: ['prod', 'test'], methods: METHODS },
      { id: 'none', name: 'none', stages: [], methods: METHODS },
    ],
    plans: ['one', 'two'].map((id) => ({ id, name: 'twice', apiStages: [] })),
    httpApis: [{ apiId: 'h11', name: 'h11' }],
  })
  const prod = { api: 'bare', stage: 'prod' }
  const cases: readonly [order: SetupArguments, fault: RegExp][] = [
    [
      { api: 'gone', plan: ['a='] },
      /^--api gone: there is no such API in eu-west-1. Each Region has its own: set AWS_REGION.* HTTP API.* may not read \/apis\/gone$/,
    ],
    [{ api: 'h11', plan: ['a='] }, /^--api h11: this is an HTTP API, and HTTP APIs have no API keys/],
    [{ api: 'bare', plan: ['a='] }, /^--stage is missing: the API bare has several, prod, test$/],
    [
      { api: 'none', plan: ['a='] },
      /^--api none: this API has no stage: it was never .*: aws apigateway create-deployment --rest-api-id none --stage-name prod --region eu-west-1$/,
    ],
    [prod, /^no usage plan covers the stage prod of bare, so no key would open it: add --plan/],
    [
      { ...prod, plan: ['twice='] },
      /^--plan twice: 2 usage plans are called "twice": choose one by its id, as in --plan twice=id:one or --plan twice=id:two$/,
    ],
    [{ ...prod, plan: ['a=id:nope'] }, /^--plan a: there is no usage plan nope$/],
    [{ ...prod, plan: ['a=id:one', 'b=id:one'] }, /^--plan: several plans mean the usage plan one$/],
    [{ ...prod, plan: ['a='], methods: ['GET /any'] }, /no such method \(ANY \/any answers it\)$/],
    [
      { ...prod, plan: ['a='], throttle: ['GET /helo=rate:1'] },
      /no such method \(did you mean "GET \/hello"\?\)$/,
    ],
  ]
  for (const [order, fault] of cases)
    await assert.rejects(openSetup(t, gateway, order).look(), { name: 'SetupFaults', message: fault })
  Object.assign(gateway.account.restApis.get('bare').stages.get('prod') ?? {}, {
    canarySettings: { percentTraffic: 10, deploymentId: 'd1', useStageCache: false },
  })
  await assert.rejects(openSetup(t, gateway, { ...prod, plan: ['a='] }).look(), /has a canary release/)
  assert.ok(gateway.calls.every(({ method }) => method === 'GET'))
})

test('what may not be read is no reason to call all set up, unless the endpoint does not have it', async (t) => {
  const gateway = await testGateway(t)
  const { look } = openSetup(t, gateway, { api: 'demo', stage: 'prod', plan: ['gold='] })
  const reads = [
    ['GetExport', 'where the stage looks for a key', '/restapis/demo/stages/prod/exports/oas30'],
    ['GetAccount', "the account's settings", '/account'],
  ] as const
  for (const [operation, what, path] of reads) {
    gateway.faults.order({ operation, when: 'before', kind: 'denied' })
    await assert.rejects(look(), {
      message: `cannot read ${what}: the role lacks apigateway:GET on arn:aws:apigateway:eu-west-1::${path}`,
    })
    gateway.faults.order({ operation, when: 'before', kind: 'unsupported' })
    assert.deepEqual((await look()).changes, [])
  }
})

test('without --methods, those that are deployed with a key stay, or all but OPTIONS require one', async (t) => {
  const titles = async (closed: readonly string[], methods: readonly string[] = []) => {
    const gateway = await testGateway(t, {
      restApis: [
        {
          ...{ id: 'bare', name: 'bare', stages: ['prod'] },
          methods: METHODS.map((one) => ({ ...one, apiKeyRequired: closed.includes(one.httpMethod) })),
        },
      ],
      plans: [{ id: 'gold', name: 'gold', apiStages: [{ apiId: 'bare', stage: 'prod' }] }],
    })
    const { changes } = await openSetup(t, gateway, { api: 'bare', methods }).look()
    return changes.map(({ title }) => title.replace(/^method |^(deployment).*/, '$1'))
  }
  assert.deepEqual(await titles([]), ['GET /hello', 'ANY /any', 'deployment'])
  assert.deepEqual(await titles(['GET']), [])
  assert.deepEqual(await titles(['OPTIONS']), await titles([]), 'a key for OPTIONS alone is none')
  assert.deepEqual(await titles(['GET'], ['all']), ['ANY /any', 'deployment'])
  assert.deepEqual(await titles(['GET'], ['OPTIONS /hello']), ['OPTIONS /hello', 'deployment'])
})

test('a deployment that would open a method says so', async (t) => {
  const gateway = await testGateway(t, {
    restApis: [
      {
        ...{ id: 'bare', name: 'bare', stages: ['prod'] },
        methods: METHODS.map((one) => ({ ...one, apiKeyRequired: one.httpMethod === 'GET' })),
      },
    ],
    plans: [{ id: 'gold', name: 'gold', apiStages: [{ apiId: 'bare', stage: 'prod' }] }],
  })
  for (const { methods } of gateway.account.restApis.get('bare').resources.values())
    for (const one of methods.values()) one.apiKeyRequired = false
  const { changes } = await openSetup(t, gateway, { api: 'bare', methods: ['ANY /any'] }).look()
  const deployment = changes.at(-1)
  assert.deepEqual(deployment?.notes.slice(1), ['Careful: it opens GET /hello, which needs a key now.'])
  assert.deepEqual(deployment?.steps, [
    { what: 'GET /hello', before: 'with a key', after: 'without a key' },
    { what: 'ANY /any', before: 'without a key', after: 'with a key' },
  ])
})
