import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Gateway } from '../../emulator/gateway.ts'
import type { GatewayOptions } from '../../emulator/options.ts'
import { UnfinishedError } from '../../src/setup/apply.ts'
import { testGateway } from '../support/service.ts'
import { askApi, openSetup } from '../support/setup-run.ts'

/** An API whose methods are open, with a plan of others on another stage. */
const BARE: Partial<GatewayOptions> = {
  restApis: [
    {
      id: 'bare',
      name: 'orders',
      stages: ['prod', 'test'],
      methods: [
        { path: '/hello', httpMethod: 'GET', apiKeyRequired: false },
        { path: '/hello', httpMethod: 'OPTIONS', apiKeyRequired: false },
        { path: '/orders/{id}', httpMethod: 'POST', apiKeyRequired: false },
      ],
    },
  ],
  plans: [
    {
      id: 'silver',
      name: 'silver',
      apiStages: [{ apiId: 'bare', stage: 'test' }],
      quota: { limit: 5, period: 'WEEK', offset: 2 },
    },
  ],
}
const ORDER = {
  api: 'bare',
  stage: 'prod',
  plan: ['gold=rate:100,burst:250,quota:10000/day', 'silver=quota:10/day'],
  throttle: ['GET /hello=rate:50,burst:60'],
}
/** The calls by which the order is fulfilled. */
const CALLS = [
  'CreateUsagePlan',
  'UpdateUsagePlan',
  'UpdateMethod',
  'UpdateMethod',
  'CreateDeployment',
] as const

const writesOf = (gateway: Gateway) =>
  gateway.calls.filter(({ method }) => method !== 'GET').map((one) => one.operation)

/** Checks that the order is fulfilled, and that nothing is left to do. */
async function requireDone(t: Parameters<typeof testGateway>[0], gateway: Gateway): Promise<void> {
  assert.deepEqual(await askApi(gateway, { api: 'bare' }, 'gold'), { without: 403, with: 200 })
  assert.deepEqual(await askApi(gateway, { api: 'bare' }, 'silver'), { without: 403, with: 200 })
  const post = { api: 'bare', path: '/orders/1', method: 'POST' }
  assert.deepEqual(await askApi(gateway, post, 'gold'), { without: 403, with: 200 })
  assert.deepEqual(await askApi(gateway, { api: 'bare', method: 'OPTIONS' }), {
    without: 200,
    with: undefined,
  })
  const before = writesOf(gateway).length
  assert.deepEqual(await openSetup(t, gateway, ORDER).apply(), [])
  assert.equal(writesOf(gateway).length, before, 'a second run makes no change')
  const gold = [...gateway.account.plans.values()].filter(({ name }) => name === 'gold')
  assert.equal(gold.length, 1, 'one plan of the name')
}

test('a bare API becomes one that keys open, by one call for each change', async (t) => {
  const gateway = await testGateway(t, BARE)
  const run = openSetup(t, gateway, ORDER)
  assert.deepEqual(await askApi(gateway, { api: 'bare' }), { without: 200, with: undefined })
  const made = await run.apply()
  assert.deepEqual(writesOf(gateway), CALLS)
  assert.equal(made.length, CALLS.length)
  await requireDone(t, gateway)
  const {
    id: _,
    tags,
    description: __,
    ...gold
  } = [...gateway.account.plans.values()].find(({ name }) => name === 'gold') ?? {}
  assert.deepEqual(gold, {
    name: 'gold',
    apiStages: [
      { apiId: 'bare', stage: 'prod', throttle: { '/hello/GET': { rateLimit: 50, burstLimit: 60 } } },
    ],
    throttle: { rateLimit: 100, burstLimit: 250 },
    quota: { limit: 10_000, period: 'DAY', offset: 0 },
  })
  assert.deepEqual(tags, { 'firstkey:setup': 'bare:prod' })
})

test('what is there stays: other stages, throttles, limits and methods', async (t) => {
  const gateway = await testGateway(t, {
    ...BARE,
    plans: [
      {
        id: 'gold1',
        name: 'gold',
        description: 'for partners',
        tags: { team: 'a' },
        apiStages: [
          { apiId: 'bare', stage: 'test', throttle: { '/hello/GET': { rateLimit: 1, burstLimit: 2 } } },
          {
            apiId: 'bare',
            stage: 'prod',
            throttle: { '/orders/{id}/POST': { rateLimit: 3, burstLimit: 4 } },
          },
        ],
        throttle: { rateLimit: 7, burstLimit: 8 },
        quota: { limit: 100, period: 'MONTH' },
      },
    ],
  })
  const order = {
    api: 'bare',
    stage: 'prod',
    plan: ['gold=rate:9'],
    methods: ['GET /hello'],
    throttle: ['GET /hello=rate:5'],
  }
  const changes = await openSetup(t, gateway, order).apply()
  assert.deepEqual(gateway.account.plans.get('gold1'), {
    id: 'gold1',
    name: 'gold',
    description: 'for partners',
    tags: { team: 'a' },
    apiStages: [
      { apiId: 'bare', stage: 'test', throttle: { '/hello/GET': { rateLimit: 1, burstLimit: 2 } } },
      {
        apiId: 'bare',
        stage: 'prod',
        throttle: {
          '/orders/{id}/POST': { rateLimit: 3, burstLimit: 4 },
          '/hello/GET': { rateLimit: 5, burstLimit: 5 },
        },
      },
    ],
    throttle: { rateLimit: 9, burstLimit: 8 },
    quota: { limit: 100, period: 'MONTH' },
  })
  assert.match(changes[0]?.notes.join() ?? '', /It covers bare:test too/)
  assert.equal((await askApi(gateway, { api: 'bare' })).without, 403)
  assert.equal((await askApi(gateway, { api: 'bare', path: '/orders/1', method: 'POST' })).without, 200)
  assert.equal(
    (await askApi(gateway, { api: 'bare', stage: 'test' })).without,
    200,
    'only the stage is deployed',
  )
})

test('a run that ends after any of its calls is finished by the next one', async (t) => {
  for (const [i, operation] of CALLS.entries())
    await t.test(`${i + 1}: ${operation}`, async (t) => {
      const gateway = await testGateway(t, BARE)
      let calls = 0
      await assert.rejects(
        openSetup(t, gateway, ORDER).apply({
          between() {
            calls += 1
            if (calls === i + 1) throw new Error('killed')
          },
        }),
        /killed/,
      )
      assert.equal(writesOf(gateway).length, i + 1)
      await openSetup(t, gateway, ORDER).apply()
      assert.deepEqual(writesOf(gateway), CALLS, 'no call is made twice')
      await requireDone(t, gateway)
    })
})

test('a call that is not allowed names its permission, what is done and what is left, and the next run goes on', async (t) => {
  for (const [operation, permission, done] of [
    ['CreateUsagePlan', /^apigateway:POST on arn:aws:apigateway:eu-west-1::\/usageplans$/, 0],
    ['UpdateUsagePlan', /^apigateway:PATCH on arn:aws:apigateway:eu-west-1::\/usageplans\/silver$/, 1],
    [
      'UpdateMethod',
      /^apigateway:PATCH on arn:aws:apigateway:eu-west-1::\/restapis\/bare\/resources\/\w+\/methods\/GET$/,
      2,
    ],
    [
      'CreateDeployment',
      /^apigateway:POST on arn:aws:apigateway:eu-west-1::\/restapis\/bare\/deployments$/,
      4,
    ],
  ] as const)
    await t.test(operation, async (t) => {
      const gateway = await testGateway(t, BARE)
      gateway.faults.order({ operation, when: 'before', kind: 'denied' })
      const error = await openSetup(t, gateway, ORDER)
        .apply()
        .then(
          () => undefined,
          (one: unknown) => one,
        )
      assert.ok(error instanceof UnfinishedError)
      assert.match(error.message.replace(/^AWS does not allow it: the role lacks /, ''), permission)
      assert.equal(error.done.length, done)
      assert.equal(error.left.length, CALLS.length - done)
      await openSetup(t, gateway, ORDER).apply()
      await requireDone(t, gateway)
    })
})

test('a read that fails between two rounds leaves what the round before it did not make', async (t) => {
  for (const [breaks, left] of [
    [false, ['deployment to the stage prod']],
    [true, ['method GET /hello', 'method POST /orders/{id}', 'deployment to the stage prod']],
  ] as const)
    await t.test(breaks ? 'after a call without a response' : 'before the deployment', async (t) => {
      const gateway = await testGateway(t, BARE)
      if (breaks) gateway.faults.order({ operation: 'UpdateMethod', when: 'before', kind: 'cut', times: 3 })
      const run = openSetup(t, gateway, ORDER)
      let looks = 0
      const look = () => {
        looks += 1
        if (looks === 2) gateway.faults.order({ operation: 'GetUsagePlans', when: 'before', kind: 'denied' })
        return run.look()
      }
      await assert.rejects(run.apply({ look }), (error) => {
        assert.ok(error instanceof UnfinishedError)
        assert.match(error.message, /apigateway:GET on arn:aws:apigateway:eu-west-1::\/usageplans/)
        assert.deepEqual(
          error.left.map(({ title }) => title),
          left,
        )
        assert.equal(error.done.length, CALLS.length - left.length)
        return true
      })
    })
})

test('a call that fails or gets no response is made again', async (t) => {
  for (const [operation, kind, when] of [
    ...CALLS.slice(0, 3).map((one) => [one, 'cut', 'after'] as const),
    ['CreateDeployment', 'cut', 'after'],
    ['UpdateUsagePlan', 'fail', 'before'],
    ['UpdateMethod', 'conflict', 'before'],
    ['UpdateUsagePlan', 'throttle', 'before'],
  ] as const)
    await t.test(`${operation}: ${kind} ${when}`, async (t) => {
      const gateway = await testGateway(t, BARE)
      gateway.faults.order({ operation, when, kind })
      await openSetup(t, gateway, ORDER).apply()
      await requireDone(t, gateway)
    })
})

test('a run says why it waits while API Gateway throttles, and goes on', async (t) => {
  const gateway = await testGateway(t, BARE)
  // The SDK tries three times by itself.
  gateway.faults.order({ operation: 'CreateDeployment', when: 'before', kind: 'throttle', times: 4 })
  const run = openSetup(t, gateway, ORDER)
  await run.apply()
  assert.match(run.lines.join('\n'), /^waits \d+ s: API Gateway is throttling the account$/m)
  await requireDone(t, gateway)
})

test('two runs at once lead to one plan of the name', async (t) => {
  const gateway = await testGateway(t, BARE)
  // Both look before either of them creates the plan: each finds none, and creates one.
  const bothLooked = Promise.withResolvers<void>()
  let looks = 0
  const runs = [1, 2].map(() => {
    const run = openSetup(t, gateway, ORDER)
    let first = true
    return run.apply({
      async look() {
        const found = await run.look()
        if (!first) return found
        first = false
        looks += 1
        if (looks === 2) bothLooked.resolve()
        await bothLooked.promise
        return found
      },
    })
  })
  await Promise.all(runs)
  const creations = gateway.calls.filter(({ operation }) => operation === 'CreateUsagePlan')
  assert.equal(creations.length, 2, 'the race was lost')
  await requireDone(t, gateway)
})

test('a plan that a crashed run made and API Gateway lists late is not there twice in the end', async (t) => {
  const gateway = await testGateway(t, { ...BARE, plans: [] })
  const order = { ...ORDER, plan: ['gold=rate:100'] }
  const killed = () => {
    throw new Error('killed')
  }
  await assert.rejects(openSetup(t, gateway, order).apply({ between: killed }), /killed/)
  gateway.faults.order({
    operation: 'GetUsagePlans',
    when: 'before',
    kind: 'late',
    ms: 1_500,
    times: 1_000,
  })
  await openSetup(t, gateway, order).apply()
  const creations = gateway.calls.filter(({ operation }) => operation === 'CreateUsagePlan')
  assert.equal(creations.length, 2, 'the second run did not see the plan of the first one')
  assert.deepEqual(await askApi(gateway, { api: 'bare' }, 'gold'), { without: 403, with: 200 })
  assert.equal(gateway.account.plans.size, 1)
})

test('of two plans that were made at once, the one that has keys is kept', async (t) => {
  const gateway = await testGateway(t, BARE)
  await openSetup(t, gateway, ORDER).apply()
  const { account } = gateway
  const gold = [...account.plans.values()].find(({ name }) => name === 'gold')
  assert.ok(gold)
  const { id: _, ...rest } = structuredClone(gold)
  // Without keys, the one whose id comes first would be kept.
  const [first, last] = [gold, account.createPlan(rest)].sort((a, b) => (a.id < b.id ? -1 : 1))
  account.attach(last?.id ?? '', account.createKey({ name: 'acme', enabled: true }).id)
  const made = await openSetup(t, gateway, ORDER).apply()
  const title = `usage plan gold (${first?.id})`
  assert.deepEqual(
    made.map((change) => change.title),
    [title, title],
    'its stage is taken off it, then it is deleted',
  )
  assert.ok(account.plans.has(last?.id ?? ''))

  const spare = account.createPlan(rest)
  await openSetup(t, gateway, { ...ORDER, plan: [`gold=id:${spare.id}`] }).apply()
  assert.ok(account.plans.has(spare.id), 'the one that is named by its id stays')
  account.plans.delete(spare.id)
  await requireDone(t, gateway)
})

test('plans that others made are never removed: the one that is meant has to be named', async (t) => {
  const gateway = await testGateway(t, {
    ...BARE,
    plans: ['one', 'two'].map((id) => ({ id, name: 'gold', apiStages: [] })),
  })
  const order = { api: 'bare', stage: 'prod', plan: ['gold=rate:5'] }
  await assert.rejects(
    openSetup(t, gateway, order).look(),
    /2 usage plans are called "gold": .* --plan gold=id:one or --plan gold=id:two/,
  )
  await openSetup(t, gateway, { ...order, plan: ['gold=id:two,rate:5'] }).apply()
  assert.deepEqual([...gateway.account.plans.keys()], ['one', 'two'])
  assert.deepEqual(await askApi(gateway, { api: 'bare' }), { without: 403, with: undefined })
  assert.equal(gateway.account.plans.get('two')?.throttle?.rateLimit, 5)
})

test('a deployment publishes what was planned, also if an operator edits the API meanwhile', async (t) => {
  const open = (gateway: Gateway) => {
    for (const { path, methods } of gateway.account.restApis.get('bare').resources.values())
      if (path === '/hello') for (const one of methods.values()) one.apiKeyRequired = false
  }
  for (const [operation, moment] of [
    ['UpdateUsagePlan', 'effective'],
    ['CreateDeployment', 'arrived'],
  ] as const)
    await t.test(`when ${operation} is ${moment}`, async (t) => {
      const gateway = await testGateway(t, BARE)
      let edits = 0
      gateway.onCall = (call, at) => {
        if (call !== operation || at !== moment || edits === 1) return
        edits += 1
        open(gateway)
      }
      await openSetup(t, gateway, ORDER).apply()
      assert.equal(edits, 1)
      await requireDone(t, gateway)
    })
  await t.test('every time: the run gives up and says so', async (t) => {
    const gateway = await testGateway(t, BARE)
    gateway.onCall = (call) => {
      if (call === 'CreateDeployment') open(gateway)
    }
    await assert.rejects(
      openSetup(t, gateway, ORDER).apply(),
      /does not stay as it was set: something else changes it$/,
    )
  })
})

test('a changed source of the key is always deployed, right after its change: no reading shows for certain what is deployed', async (t) => {
  const gateway = await testGateway(t)
  const order = { api: 'demo', stage: 'prod', plan: ['gold=rate:7,burst:9'] }
  gateway.account.restApis.get('demo').apiKeySource = 'AUTHORIZER'
  await openSetup(t, gateway, order).apply()
  assert.deepEqual(writesOf(gateway), ['UpdateUsagePlan', 'UpdateRestApi', 'CreateDeployment'])
  assert.deepEqual(await openSetup(t, gateway, order).apply(), [])
})
