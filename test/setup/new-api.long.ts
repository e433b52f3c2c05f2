import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Gateway } from '../../emulator/gateway.ts'
import { iamPolicy } from '../../src/setup/iam-policy.ts'
import { testGateway } from '../support/service.ts'
import { askApi, openSetup } from '../support/setup-run.ts'

const ORDER = { name: 'hello', plan: ['free=rate:10,burst:20,quota:1000/day'] }
const CALLS = [
  'CreateRestApi',
  'CreateResource',
  'PutMethod',
  'PutIntegration',
  'PutMethodResponse',
  'PutIntegrationResponse',
  'CreateDeployment',
  'CreateUsagePlan',
]
const REMOVAL = { ...ORDER, delete: true } as const
const REMOVAL_CALLS = ['UpdateUsagePlan', 'DeleteUsagePlan', 'DeleteRestApi']

/** An account with a plan of others that has the same name. */
const start = (t: TestContext) =>
  testGateway(t, { restApis: [], plans: [{ id: 'others', name: 'free', apiStages: [] }] })

const writesOf = (gateway: Gateway) =>
  gateway.calls.filter(({ method }) => method !== 'GET').map((one) => one.operation)

/** Ends a process after so many calls that took effect. */
function killedAfter(count: number): () => void {
  let calls = 0
  return () => {
    calls += 1
    if (calls === count) throw new Error('killed')
  }
}

async function requireDone(t: TestContext, gateway: Gateway): Promise<void> {
  const apis = [...gateway.account.restApis.all.keys()]
  assert.equal(apis.length, 1, 'one API')
  const made = [...gateway.account.plans.values()].filter(({ id }) => id !== 'others')
  assert.equal(made.length, 1, 'one plan')
  gateway.account.plans.delete('others')
  assert.deepEqual(await askApi(gateway, { api: apis[0] ?? '' }, 'free'), { without: 403, with: 200 })
  const before = writesOf(gateway).length
  assert.deepEqual(await openSetup(t, gateway, ORDER).apply(), [])
  assert.equal(writesOf(gateway).length, before, 'a second run makes no change')
}

test('a new API is made by one call for each part, also by runs that end after any of them', async (t) => {
  for (const [i, operation] of CALLS.entries())
    await t.test(`killed after ${operation}`, async (t) => {
      const gateway = await start(t)
      await assert.rejects(openSetup(t, gateway, ORDER).apply({ between: killedAfter(i + 1) }), /killed/)
      await openSetup(t, gateway, ORDER).apply()
      assert.deepEqual(writesOf(gateway), CALLS)
      await requireDone(t, gateway)
    })
})

test('a new API is removed by runs that end after any of their calls, and what others made stays', async (t) => {
  for (const [i, operation] of REMOVAL_CALLS.entries())
    await t.test(`killed after ${operation}`, async (t) => {
      const gateway = await start(t)
      await openSetup(t, gateway, ORDER).apply()
      const other = gateway.account.restApis.create({
        ...{ name: 'hello', apiKeySource: 'HEADER', tags: {}, disableExecuteApiEndpoint: false },
        endpointConfiguration: { types: ['REGIONAL'], ipAddressType: 'ipv4' },
      })
      const before = writesOf(gateway).length
      await assert.rejects(openSetup(t, gateway, REMOVAL).apply({ between: killedAfter(i + 1) }), /killed/)
      await openSetup(t, gateway, REMOVAL).apply()
      assert.deepEqual(writesOf(gateway).slice(before), REMOVAL_CALLS)
      assert.deepEqual([...gateway.account.restApis.all.keys()], [other.id])
      assert.deepEqual([...gateway.account.plans.keys()], ['others'])
    })
})

test('the generated policy allows all that setup does, and what it lacks is named', async (t) => {
  const gateway = await start(t)
  const allowed = iamPolicy('setup', 'eu-west-1', {}).Statement.map(({ Action, Resource }) => ({
    ...{ Effect: 'Allow' as const, Action: [...Action], Resource: [...Resource] },
  }))
  gateway.policy = { Statement: allowed }
  await openSetup(t, gateway, ORDER).apply()
  const [api = ''] = gateway.account.restApis.all.keys()
  const more = { api, plan: ['free=rate:1'], methods: ['GET /hello'], throttle: ['GET /hello=rate:1'] }
  gateway.account.plans.delete('others')
  await openSetup(t, gateway, more).apply()
  await openSetup(t, gateway, REMOVAL).apply()
  assert.equal(gateway.account.restApis.all.size, 0)
  assert.ok(gateway.calls.every(({ status }) => status !== 403))

  gateway.policy = {
    Statement: allowed.map((one) => ({
      ...one,
      Resource: one.Resource.filter((resource) => !resource.includes('/tags/')),
    })),
  }
  await assert.rejects(
    openSetup(t, gateway, ORDER).apply(),
    /^UnfinishedError: AWS does not allow it: the role lacks apigateway:PUT on arn:aws:apigateway:eu-west-1::\/tags\//,
  )
  gateway.policy = { Statement: allowed.map((one) => ({ ...one, Action: ['apigateway:POST'] })) }
  await assert.rejects(
    openSetup(t, gateway, ORDER).look(),
    /^Error: cannot read the \w[\w ]+: the role lacks apigateway:GET on arn:aws:apigateway:eu-west-1::\/\w+$/,
  )
})

test('the removal objects to keys on its plans, and to plans of others on its API', async (t) => {
  const gateway = await start(t)
  await openSetup(t, gateway, ORDER).apply()
  const { account } = gateway
  const [api = ''] = account.restApis.all.keys()
  account.plans.get('others')?.apiStages.push({ apiId: api, stage: 'prod' })
  const own = [...account.plans.values()].find(({ id }) => id !== 'others')
  for (const name of ['acme', 'bob']) account.attach(own?.id ?? '', account.createKey({ name }).id)
  const { objections, changes } = await openSetup(t, gateway, REMOVAL).look()
  assert.equal(objections.length, 2)
  assert.match(
    objections[0] ?? '',
    /free \(\w+\) has 2 keys, which would open nothing any more \(revoke them first\): acme, bob$/,
  )
  assert.match(objections[1] ?? '', /free \(others\), which this command did not make, covers \w+:prod$/)
  assert.equal(changes.length, 3)
  await openSetup(t, gateway, REMOVAL).apply()
  assert.deepEqual(account.plans.get('others')?.apiStages, [], 'the plan of others is only taken off the API')
  assert.equal(account.restApis.all.size, 0)
})

test('two runs at once make one API', async (t) => {
  const gateway = await start(t)
  // Both look before either of them creates the API: each finds none, and creates one.
  const bothLooked = Promise.withResolvers<void>()
  let looks = 0
  await Promise.all(
    [1, 2].map(() => {
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
    }),
  )
  const creations = gateway.calls.filter(({ operation }) => operation === 'CreateRestApi')
  assert.equal(creations.length, 2, 'the race was lost')
  await openSetup(t, gateway, ORDER).apply()
  await requireDone(t, gateway)
})

test('an API that the SDK made twice, since the first answer was lost, is one at the end of the run', async (t) => {
  const gateway = await start(t)
  gateway.faults.order({ operation: 'CreateRestApi', when: 'after', kind: 'cut' })
  await openSetup(t, gateway, ORDER).apply()
  assert.ok(writesOf(gateway).includes('DeleteRestApi'))
  await requireDone(t, gateway)
})

test('an API that is listed late is waited for, and not made twice', async (t) => {
  const gateway = await start(t)
  gateway.faults.order({ operation: 'GetRestApis', when: 'before', kind: 'late', ms: 1_500, times: 1_000 })
  await openSetup(t, gateway, ORDER).apply()
  gateway.faults.clear()
  assert.deepEqual(writesOf(gateway), CALLS)
  await requireDone(t, gateway)
})

test('two APIs with the tag that both have a stage are not chosen between', async (t) => {
  const gateway = await start(t)
  await openSetup(t, gateway, ORDER).apply()
  const [first] = gateway.account.restApis.all.values()
  assert.ok(first)
  gateway.account.restApis.all.set('second', { ...first, id: 'second' })
  await assert.rejects(
    openSetup(t, gateway, ORDER).look(),
    /--new hello: 2 APIs have the tag firstkey:setup=hello: .*second.* Remove that tag from all but one/,
  )
})
