import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  APIGatewayClient,
  BadRequestException,
  ConflictException,
  CreateApiKeyCommand,
  CreateDeploymentCommand,
  CreateRestApiCommand,
  CreateUsagePlanCommand,
  CreateUsagePlanKeyCommand,
  DeleteApiKeyCommand,
  DeleteAuthorizerCommand,
  DeleteUsagePlanCommand,
  DeleteUsagePlanKeyCommand,
  GetAccountCommand,
  GetApiKeyCommand,
  GetApiKeysCommand,
  type GetApiKeysCommandInput,
  GetResourcesCommand,
  GetRestApiCommand,
  GetRestApisCommand,
  GetStageCommand,
  GetUsageCommand,
  GetUsagePlanCommand,
  GetUsagePlanKeyCommand,
  GetUsagePlanKeysCommand,
  GetUsagePlansCommand,
  GetVpcLinksCommand,
  ImportApiKeysCommand,
  NotFoundException,
  type PatchOperation,
  TooManyRequestsException,
  UpdateAccountCommand,
  UpdateApiKeyCommand,
  UpdateUsageCommand,
  UpdateUsagePlanCommand,
} from '@aws-sdk/client-api-gateway'
import type { Gateway } from '../../emulator/gateway.ts'
import { defaultGatewayOptions } from '../../emulator/options.ts'
import { attachedKey, gatewayClient } from '../support/gateway-client.ts'
import { startProgram } from '../support/server-process.ts'
import { tempDir } from '../support/service.ts'

const VALUE = 'A'.repeat(39)

test('the API accepts a key only when it is enabled and attached to a plan of the stage', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  assert.equal((await call('')).status, 403)
  const created = await sdk.send(new CreateApiKeyCommand({ name: 'a', value: `${VALUE}1` }))
  assert.equal(created.enabled, false, 'enabled defaults to false')
  const keyId = created.id ?? ''
  await sdk.send(new CreateUsagePlanKeyCommand({ usagePlanId: 'demofree', keyId, keyType: 'API_KEY' }))
  assert.equal((await call(`${VALUE}1`)).status, 403)
  const patchOperations = [{ op: 'replace' as const, path: '/enabled', value: 'true' }]
  await sdk.send(new UpdateApiKeyCommand({ apiKey: keyId, patchOperations }))
  assert.equal((await call(`${VALUE}1`)).status, 200)
  const refused = await call(`${VALUE}2`)
  assert.deepEqual([refused.status, await refused.json()], [403, { message: 'Forbidden' }])
  await sdk.send(new DeleteUsagePlanKeyCommand({ usagePlanId: 'demofree', keyId }))
  assert.equal((await call(`${VALUE}1`)).status, 403)
  await sdk.send(new DeleteApiKeyCommand({ apiKey: keyId }))
  await assert.rejects(sdk.send(new GetApiKeyCommand({ apiKey: keyId })), NotFoundException)
  await assert.rejects(sdk.send(new DeleteApiKeyCommand({ apiKey: keyId })), NotFoundException)
})

test('values are unique, names are not', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  const key = { name: 'same', value: `${VALUE}1` }
  await sdk.send(new CreateApiKeyCommand(key))
  await assert.rejects(sdk.send(new CreateApiKeyCommand(key)), (error) => {
    assert.ok(error instanceof ConflictException)
    assert.equal(error.message, 'API Key already exists')
    return true
  })
  await sdk.send(new CreateApiKeyCommand({ ...key, value: `${VALUE}2` }))
  assert.equal(gateway.account.keys.size, 2)
  for (const value of ['short', 'x'.repeat(129), 'with-dash-and_underscore'] as const) {
    await assert.rejects(sdk.send(new CreateApiKeyCommand({ name: 'a', value })), {
      name: 'BadRequestException',
    })
  }
})

test('a 409 of CreateUsagePlanKey has three meanings', async (t) => {
  const { sdk } = await gatewayClient(t, { latency: { CreateUsagePlanKey: 50 } })
  const keyId = await attachedKey(sdk, `${VALUE}1`)
  const attach = (usagePlanId: string, id = keyId) =>
    sdk.send(new CreateUsagePlanKeyCommand({ usagePlanId, keyId: id, keyType: 'API_KEY' }))

  await assert.rejects(attach('demofree'), { name: 'ConflictException', message: /already on usage plan/ })
  await assert.rejects(attach('demogold'), {
    name: 'ConflictException',
    message: /multiple Usage Plans with the same API Stage/,
  })
  const { id = '' } = await sdk.send(
    new CreateApiKeyCommand({ name: 'b', value: `${VALUE}2`, enabled: true }),
  )
  const results = await Promise.allSettled([attach('demofree', id), attach('demofree', id)])
  const refused = results.find((result) => result.status === 'rejected')
  assert.match(refused?.reason.message, /concurrent modification\. Please try again later\.$/)
  await assert.rejects(attach('none'), {
    name: 'NotFoundException',
    message: 'Invalid Usage Plan ID specified',
  })
})

test('lists are paged, filter by a case-sensitive name prefix, and contain values only on request', async (t) => {
  const { sdk } = await gatewayClient(t)
  for (let i = 0; i < 30; i++) await attachedKey(sdk, VALUE + String(i).padStart(3, '0'))
  await sdk.send(new CreateApiKeyCommand({ name: 'Nope' }))

  const first = await sdk.send(new GetApiKeysCommand({ nameQuery: 'n' }))
  assert.equal(first.items?.length, 25, 'limit defaults to 25')
  const second = await sdk.send(new GetApiKeysCommand({ nameQuery: 'n', position: first.position }))
  assert.equal(second.items?.length, 5)
  assert.equal(second.position, undefined)
  assert.equal(first.items?.[0]?.value, undefined)
  const values = await sdk.send(new GetApiKeysCommand({ nameQuery: 'n', includeValues: true, limit: 1 }))
  assert.equal(values.items?.[0]?.value, `${VALUE}000`)

  const onPlan = await sdk.send(new GetUsagePlanKeysCommand({ usagePlanId: 'demofree', limit: 500 }))
  assert.equal(onPlan.items?.length, 30)
  const unknown = await sdk.send(new GetUsagePlanKeysCommand({ usagePlanId: 'none' }))
  assert.deepEqual(unknown.items, [], 'an unknown plan returns an empty list')
  const keyId = onPlan.items?.[0]?.id
  const one = await sdk.send(new GetUsagePlanKeyCommand({ usagePlanId: 'demofree', keyId }))
  assert.equal(one.id, keyId)
})

test('an import attaches keys, overwrites them when repeated, and returns unordered ids', async (t) => {
  const { sdk, gateway, call } = await gatewayClient(t)
  const csv = `name,KEY,usageplanIds,other\n${[3, 1, 2].map((i) => `n${i},${VALUE}${i},"demofree",x`).join('\n')}\n`
  const send = (body: string, failOnWarnings = true) =>
    sdk.send(new ImportApiKeysCommand({ body: Buffer.from(body), format: 'csv', failOnWarnings }))

  const first = await send(csv)
  assert.equal(first.ids?.length, 3)
  assert.equal((await call(`${VALUE}2`)).status, 200)
  const again = await send(csv.replace('n1', 'renamed'))
  assert.deepEqual(again.ids, first.ids)
  assert.equal(gateway.account.keyByValue(`${VALUE}1`)?.name, 'renamed')

  const half = `Name,Key,UsagePlanIds\ngood,${VALUE}8,demofree\nbad,${VALUE}9,none\n`
  await assert.rejects(send(half), { name: 'BadRequestException' })
  assert.equal(gateway.account.keys.size, 3, 'failonwarnings rolls everything back')
  const lenient = await send(half, false)
  assert.deepEqual([lenient.ids?.length, lenient.warnings?.length], [1, 1])
  assert.equal(gateway.account.keys.size, 4)
  for (const body of ['Name\nx\n', '', ' \n'])
    await assert.rejects(send(body), { name: 'BadRequestException' })
})

test('every request must be signed with the configured key, for the Region, over the body', async (t) => {
  const { gateway } = await gatewayClient(t)
  const { accessKeyId, secretAccessKey, region } = defaultGatewayOptions
  const unsigned = await fetch(`${gateway.url}/apikeys`)
  assert.equal(unsigned.status, 403)
  assert.equal(unsigned.headers.get('x-amzn-errortype'), 'MissingAuthenticationTokenException')

  const cases = [
    [{ credentials: { accessKeyId: 'AKIAOTHER', secretAccessKey } }, 'UnrecognizedClientException'],
    [{ credentials: { accessKeyId, secretAccessKey: 'x' } }, 'InvalidSignatureException'],
    [{ region: 'us-east-1', credentials: { accessKeyId, secretAccessKey } }, 'InvalidSignatureException'],
    [
      { credentials: { accessKeyId, secretAccessKey }, systemClockOffset: 3_600_000 },
      'InvalidSignatureException',
    ],
  ] as const
  for (const [options, name] of cases) {
    const sdk = new APIGatewayClient({ endpoint: gateway.url, region, maxAttempts: 1, ...options })
    await assert.rejects(sdk.send(new GetUsagePlansCommand({})), { name })
    sdk.destroy()
  }
  const honest = new APIGatewayClient({
    endpoint: gateway.url,
    region,
    credentials: { accessKeyId, secretAccessKey },
  })
  honest.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { body?: Uint8Array }
      const text = new TextDecoder().decode(Uint8Array.from(request.body ?? []))
      request.body = Buffer.from(text.replace('mine', 'evil'))
      return next(args)
    },
    { step: 'finalizeRequest', priority: 'low' },
  )
  await assert.rejects(honest.send(new CreateApiKeyCommand({ name: 'mine' })), {
    name: 'InvalidSignatureException',
  })
  honest.destroy()
})

test('quotas: five CreateApiKey at once, then 429 with Retry-After', async (t) => {
  const { sdk } = await gatewayClient(t, { quotas: true })
  const create = () => sdk.send(new CreateApiKeyCommand({ name: 'a' }))
  for (let i = 0; i < 5; i++) await create()
  await assert.rejects(create(), (error) => {
    assert.ok(error instanceof TooManyRequestsException)
    assert.equal(error.message, 'Too Many Requests')
    assert.equal(error.retryAfterSeconds, '1')
    return true
  })
})

test('quotas: operations with a pace of their own', async (t) => {
  const { sdk } = await gatewayClient(t, { quotas: true })
  const patchOperations: PatchOperation[] = [{ op: 'replace', path: '/description', value: 'x' }]
  const deploy = new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'prod' })
  for (const [command, atOnce, retryAfter] of [
    [new UpdateUsagePlanCommand({ usagePlanId: 'demofree', patchOperations }), 1, 20],
    [new UpdateAccountCommand({}), 1, 20],
    [deploy, 1, 5],
    [new GetResourcesCommand({ restApiId: 'demo' }), 5, 1],
    [new CreateRestApiCommand({ name: 'a' }), 1, 3],
  ] as const) {
    const send = () => sdk.send(command as typeof deploy)
    for (let i = 0; i < atOnce; i++) await send()
    await assert.rejects(
      async () => {
        for (;;) await send() // A slow machine gets some of a short pace back.
      },
      (error) => {
        assert.ok(error instanceof TooManyRequestsException, String(error))
        assert.ok(Number(error.retryAfterSeconds) <= retryAfter)
        return true
      },
    )
  }
})

test('quotas: a burst of 40 calls, then 429', async (t) => {
  const { sdk } = await gatewayClient(t, { quotas: true })
  const reads = await Promise.allSettled(
    Array.from({ length: 60 }, () => sdk.send(new GetUsagePlanCommand({ usagePlanId: 'demofree' }))),
  )
  const served = reads.filter((read) => read.status === 'fulfilled').length
  assert.ok(served >= 40 && served < 60, String(served))
})

test('a used-up API key quota: LimitExceededException, status 429', async (t) => {
  const { sdk } = await gatewayClient(t, { maxKeys: 1 })
  await sdk.send(new CreateApiKeyCommand({ name: 'a' }))
  await assert.rejects(sdk.send(new CreateApiKeyCommand({ name: 'b' })), { name: 'LimitExceededException' })
})

test('a plan enforces its throttle and quota with 429, and GetUsage reports the requests', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  const apiStages = [{ apiId: 'demo', stage: 'prod' }]
  const slow = await sdk.send(
    new CreateUsagePlanCommand({ name: 'slow', apiStages, throttle: { rateLimit: 0.01, burstLimit: 2 } }),
  )
  const small = await sdk.send(
    new CreateUsagePlanCommand({ name: 'small', apiStages, quota: { limit: 2, period: 'DAY' } }),
  )
  await attachedKey(sdk, `${VALUE}1`, slow.id)
  const keyId = await attachedKey(sdk, `${VALUE}2`, small.id)
  const statuses = async (value: string) => [
    (await call(value)).status,
    (await call(value)).status,
    (await call(value)).status,
  ]
  assert.deepEqual(await statuses(`${VALUE}1`), [200, 200, 429])
  assert.deepEqual(await statuses(`${VALUE}2`), [200, 200, 429])
  assert.deepEqual(await (await call(`${VALUE}2`)).json(), { message: 'Limit Exceeded' })

  const today = new Date().toISOString().slice(0, 10)
  const usage = await sdk.send(
    new GetUsageCommand({ usagePlanId: small.id, startDate: today, endDate: today }),
  )
  assert.deepEqual(usage.items, { [keyId]: [[2, 0]] })

  const patchOperations = [{ op: 'replace' as const, path: '/quota/limit', value: '5' }]
  await sdk.send(new UpdateUsagePlanCommand({ usagePlanId: small.id, patchOperations }))
  assert.equal((await call(`${VALUE}2`)).status, 200)
})

test('UpdateUsage sets what is left of the quota of one key in the present period', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  const { id: usagePlanId } = await sdk.send(
    new CreateUsagePlanCommand({
      name: 'small',
      apiStages: [{ apiId: 'demo', stage: 'prod' }],
      quota: { limit: 3, period: 'DAY' },
    }),
  )
  const [keyId, other] = [
    await attachedKey(sdk, `${VALUE}1`, usagePlanId),
    await attachedKey(sdk, `${VALUE}2`, usagePlanId),
  ]
  assert.equal((await call(`${VALUE}1`)).status, 200)
  const patch = (path: string, value: string, planId = usagePlanId) =>
    sdk.send(
      new UpdateUsageCommand({
        usagePlanId: planId,
        keyId,
        patchOperations: [{ op: 'replace', path, value }],
      }),
    )
  const { items } = await patch('/remaining', '1')
  assert.deepEqual(items, { [keyId]: [[1, 1]] })
  assert.deepEqual([(await call(`${VALUE}1`)).status, (await call(`${VALUE}1`)).status], [200, 429])
  const today = new Date().toISOString().slice(0, 10)
  const usage = await sdk.send(new GetUsageCommand({ usagePlanId, startDate: today, endDate: today }))
  assert.deepEqual(usage.items, { [keyId]: [[2, 0]], [other]: [[0, 3]] })
  await assert.rejects(patch('/remaining', 'x'), { name: 'BadRequestException' })
  await assert.rejects(patch('/used', '1'), { name: 'BadRequestException' })
  await assert.rejects(patch('/remaining', '1', 'demogold'), { name: 'NotFoundException' })
})

test('GetUsagePlans lists the plans of a key; a deleted plan loses its keys', async (t) => {
  const { sdk } = await gatewayClient(t)
  const keyId = await attachedKey(sdk, `${VALUE}1`)
  const plansOf = async () => (await sdk.send(new GetUsagePlansCommand({ keyId }))).items?.map(({ id }) => id)
  assert.deepEqual(await plansOf(), ['demofree'])
  const remove = () => sdk.send(new DeleteUsagePlanCommand({ usagePlanId: 'demofree' }))
  await assert.rejects(remove(), {
    name: 'BadRequestException',
    message: /API Stages associated with it, including demo:prod$/,
  })
  const patchOperations = [{ op: 'remove' as const, path: '/apiStages', value: 'demo:prod' }]
  await sdk.send(new UpdateUsagePlanCommand({ usagePlanId: 'demofree', patchOperations }))
  await remove()
  assert.deepEqual(await plansOf(), [])
})

test('the API rejects a new key until propagationMs has passed', async (t) => {
  const { sdk, call } = await gatewayClient(t, { propagationMs: 60_000 })
  await attachedKey(sdk, `${VALUE}1`)
  assert.equal((await call(`${VALUE}1`)).status, 403)
})

test('for flickerMs the API accepts some requests with a new key and refuses others, then it accepts all', async (t) => {
  const { call, gateway } = await gatewayClient(t, { propagationMs: 60_000, flickerMs: 60_000 })
  const key = gateway.account.createKey({ value: `${VALUE}1`, enabled: true })
  gateway.account.attach('demogold', key.id)
  const statuses = async (ageMs: number) => {
    Object.assign(key, { createdAt: Date.now() - ageMs })
    const all = await Promise.all(Array.from({ length: 100 }, () => call(`${VALUE}1`)))
    return [...new Set(all.map(({ status }) => status))].sort()
  }
  assert.deepEqual(await statuses(30_000), [403])
  assert.deepEqual(await statuses(90_000), [200, 403])
  assert.deepEqual(await statuses(120_000), [200])
})

test('the API accepts a deleted key, and lists show it, until deletedMs has passed', async (t) => {
  for (const [deletedMs, status, count] of [
    [60_000, 200, 1],
    [0, 403, 0],
  ] as const) {
    const { sdk, call, gateway } = await gatewayClient(t, { deletedMs })
    await attachedKey(sdk, `${VALUE}1`)
    const [apiKey = ''] = gateway.account.keys.keys()
    await sdk.send(new DeleteApiKeyCommand({ apiKey }))
    assert.equal((await call(`${VALUE}1`)).status, status)
    assert.equal((await sdk.send(new GetApiKeysCommand({}))).items?.length, count)
    const onPlan = await sdk.send(new GetUsagePlanKeysCommand({ usagePlanId: 'demofree' }))
    assert.equal(onPlan.items?.length, count)
    await assert.rejects(sdk.send(new GetApiKeyCommand({ apiKey })), { name: 'NotFoundException' })
  }
})

test('a fault applies to the nth call, before or after its effect', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  const create = () => sdk.send(new CreateApiKeyCommand({ name: 'a' }))
  gateway.faults.order({ operation: 'CreateApiKey', nth: 2, when: 'before', kind: 'fail' })
  gateway.faults.order({ operation: 'CreateApiKey', nth: 3, when: 'after', kind: 'cut' })
  await create()
  await assert.rejects(create(), { name: 'InternalFailure' })
  assert.equal(gateway.account.keys.size, 1)
  await assert.rejects(create(), /socket hang up|ECONNRESET/)
  assert.equal(gateway.account.keys.size, 2)
  await create()
})

test('faults that make an answer wrong: keys that are listed late, not enabled, or not on their plan', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  const csv = ['Name,Key,UsagePlanIds', ...[1, 2, 3, 4].map((n) => `key ${n},${VALUE}${n},demofree`)].join(
    '\n',
  )
  const run = () => sdk.send(new ImportApiKeysCommand({ body: Buffer.from(csv), format: 'csv' }))
  const names = async () => (await sdk.send(new GetApiKeysCommand({}))).items?.map(({ name }) => name)
  gateway.faults.order({ operation: 'ImportApiKeys', when: 'after', kind: 'disabled', every: 2 })
  gateway.faults.order({ operation: 'ImportApiKeys', nth: 2, when: 'after', kind: 'unattached', every: 4 })
  gateway.faults.order({
    operation: 'GetApiKeys',
    when: 'after',
    kind: 'late',
    ms: 60_000,
    every: 4,
    times: 1,
  })
  await run()
  const keys = [...gateway.account.keys.values()]
  assert.deepEqual(
    keys.map(({ enabled }) => enabled),
    [true, false, true, false],
  )
  await run()
  assert.deepEqual(
    keys.map(({ planIds }) => planIds.size),
    [1, 1, 1, 0],
  )
  assert.deepEqual(await names(), ['key 1', 'key 2', 'key 3'])
  assert.equal((await names())?.length, 4)
})

test('other processes inject faults and read the state over HTTP', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  const order = (body: object) =>
    fetch(`${gateway.url}/_local/faults`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  assert.equal((await order({ operation: 'CreateApiKey', when: 'before', kind: 'throttle' })).status, 204)
  assert.equal((await order({ operation: 'CreateApiKey', when: 'sometimes', kind: 'throttle' })).status, 400)
  await assert.rejects(sdk.send(new CreateApiKeyCommand({ name: 'a' })), TooManyRequestsException)
  await attachedKey(sdk, `${VALUE}1`)
  const read = async (path: string) => (await fetch(`${gateway.url}/_local/${path}`)).json()
  const state = (await read('state')) as Pick<Gateway, 'answers'> & { restApis: { id: string }[] }
  assert.deepEqual(
    state.restApis.map(({ id }) => id),
    ['demo'],
  )
  assert.deepEqual(await read('calls'), gateway.calls)
  assert.deepEqual(state.answers['CreateApiKey'], { 201: 1, 429: 1 })
  assert.ok(!JSON.stringify(state).includes(VALUE))
})

test('other processes plant what only AWS itself sets: tags of CloudFormation, an ACL of AWS WAF, an old account', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  const plant = async (body: object) =>
    (
      await fetch(`${gateway.url}/_local/state`, {
        method: 'PATCH',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
    ).status
  const tags = { 'aws:cloudformation:stack-name': 'web' }
  const webAclArn = 'arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/a/b'
  const stage = { restApiId: 'demo', stageName: 'prod' }
  const account = { features: [] }
  assert.equal(await plant({ restApi: { id: 'demo', tags }, stage: { ...stage, webAclArn }, account }), 204)
  assert.deepEqual((await sdk.send(new GetRestApiCommand({ restApiId: 'demo' }))).tags, tags)
  assert.equal((await sdk.send(new GetStageCommand(stage))).webAclArn, webAclArn)
  assert.deepEqual((await sdk.send(new GetAccountCommand({}))).features, [])
  assert.deepEqual([await plant({ restApi: { id: 'none', tags } }), await plant({ plan: {} })], [404, 400])
})

test('a fault applies to operations on APIs too', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  const deploy = () => sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'prod' }))
  gateway.faults.order({ operation: 'CreateDeployment', when: 'after', kind: 'cut' })
  await assert.rejects(deploy(), /socket hang up|ECONNRESET/)
  assert.equal(gateway.account.restApis.get('demo').deployments.size, 2, 'it took effect')
  gateway.faults.order({ operation: 'CreateDeployment', when: 'before', kind: 'throttle' })
  await assert.rejects(deploy(), TooManyRequestsException)
})

test('an option that is not a number stops the emulator; the message names the option and its range', async (t) => {
  for (const [option, max] of [
    ['--port', 65_535],
    ['--max-keys', 1_000_000],
  ] as const) {
    const emulator = startProgram(t, 'emulator/main.ts', [option, 'x'], {})
    assert.equal(await emulator.ended(), 1)
    assert.equal(emulator.output.stderr, `local-gateway: ${option} must be a number from 0 to ${max}\n`)
  }
})

test('local-gateway --empty has no APIs and no plans, and --policy says what the credentials may do', async (t) => {
  const policy = join(tempDir(t), 'policy.json')
  const start = () => startProgram(t, 'emulator/main.ts', ['--port', '0', '--empty', '--policy', policy], {})
  writeFileSync(policy, '{"Statement": {"Effect": "Allow"}}')
  const refused = start()
  assert.equal(await refused.ended(), 1)
  assert.match(refused.output.stderr, /^local-gateway: --policy must be a file with an IAM policy: .*Invalid/)

  const Statement = { Effect: 'Allow', Action: 'apigateway:GET', Resource: '*' }
  writeFileSync(policy, JSON.stringify({ Statement }))
  const [, endpoint = ''] = await start().seen(/API_GATEWAY=(\S+)/)
  const { accessKeyId, secretAccessKey, region } = defaultGatewayOptions
  const sdk = new APIGatewayClient({ endpoint, region, credentials: { accessKeyId, secretAccessKey } })
  t.after(() => sdk.destroy())
  assert.deepEqual((await sdk.send(new GetRestApisCommand({}))).items, [])
  assert.deepEqual((await sdk.send(new GetUsagePlansCommand({}))).items, [])
  await assert.rejects(sdk.send(new CreateApiKeyCommand({ name: 'a' })), { name: 'AccessDeniedException' })
})

/** A row that fails after its key was attached to the first of its plans. */
const halfAttached = `Name,Key,UsagePlanIds\ngood,${VALUE}8,demofree\nbad,${VALUE}9,"demofree,none"\n`

test('an import that fails with failonwarnings changes nothing, whatever its rows had changed; without, only its bad rows', async (t) => {
  const { sdk, gateway, call } = await gatewayClient(t)
  const { account } = gateway
  await sdk.send(new CreateApiKeyCommand({ name: 'before', value: `${VALUE}7`, enabled: true }))
  const run = (body: string, failOnWarnings: boolean) =>
    sdk.send(new ImportApiKeysCommand({ body: Buffer.from(body), format: 'csv', failOnWarnings }))
  const overwriting = `${halfAttached}after,${VALUE}7,demofree\n`
  for (const body of [halfAttached, overwriting, overwriting.replace('demofree\n', '"demofree,none"\n')]) {
    await assert.rejects(run(body, true), (error) => {
      assert.ok(error instanceof BadRequestException, String(error))
      assert.equal(error.$metadata.httpStatusCode, 400)
      return true
    })
    assert.deepEqual(
      [...account.keys.values()].map(({ name, planIds }) => [name, planIds.size]),
      [['before', 0]],
    )
  }
  const { ids, warnings } = await run(halfAttached, false)
  assert.deepEqual([ids?.length, warnings?.length], [1, 1])
  assert.deepEqual([account.keys.size, (await call(`${VALUE}8`)).status], [2, 200])
})

test('lists filter by customer and by key, and go on where a page ended, also after keys were deleted', async (t) => {
  const { sdk } = await gatewayClient(t)
  const ids: (string | undefined)[] = []
  for (const customerId of ['a', 'b', 'a', 'b', 'a'])
    ids.push((await sdk.send(new CreateApiKeyCommand({ name: 'n', customerId }))).id)
  const list = async (input: GetApiKeysCommandInput) => {
    const { items = [], position } = await sdk.send(new GetApiKeysCommand(input))
    return { ids: items.map(({ id }) => id), position }
  }
  assert.deepEqual((await list({ customerId: 'b' })).ids, [ids[1], ids[3]])
  assert.deepEqual((await list({ customerId: 'b', nameQuery: 'x' })).ids, [])
  const first = await list({ limit: 2 })
  assert.deepEqual(first.ids, ids.slice(0, 2))
  for (const id of [ids[0], ids[2]]) await sdk.send(new DeleteApiKeyCommand({ apiKey: id }))
  const { position } = first
  assert.ok(position)
  assert.deepEqual(await list({ position }), { ids: ids.slice(3), position: undefined })

  await sdk.send(
    new CreateUsagePlanKeyCommand({ usagePlanId: 'demogold', keyId: ids[3], keyType: 'API_KEY' }),
  )
  const plansOf = async (keyId: string | undefined) =>
    (await sdk.send(new GetUsagePlansCommand({ keyId }))).items?.map(({ id }) => id)
  assert.deepEqual(await plansOf(ids[3]), ['demogold'])
  assert.deepEqual(await plansOf(ids[4]), [])
  assert.deepEqual(await plansOf(undefined), ['demofree', 'demogold'])
  const onePlan = await sdk.send(new GetUsagePlansCommand({ limit: 1 }))
  const other = await sdk.send(new GetUsagePlansCommand({ limit: 1, position: onePlan.position }))
  assert.deepEqual([other.items?.[0]?.id, other.position], ['demogold', undefined])

  for (const input of [{ position: 'zzz' }, { limit: 0 }, { limit: -1 }])
    await assert.rejects(list(input), { name: 'BadRequestException' })
})

test('GetUsage is paged', async (t) => {
  const { sdk } = await gatewayClient(t)
  const keys = [await attachedKey(sdk, `${VALUE}1`), await attachedKey(sdk, `${VALUE}2`)]
  const query = { usagePlanId: 'demofree', startDate: '2026-01-01', endDate: '2026-01-01', limit: 1 }
  const first = await sdk.send(new GetUsageCommand(query))
  const second = await sdk.send(new GetUsageCommand({ ...query, position: first.position }))
  assert.deepEqual([...Object.keys(first.items ?? {}), ...Object.keys(second.items ?? {})], keys)
  assert.equal(second.position, undefined)
})

test('operations that it lacks answer 404 with a type, as AWS has one with every error', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  // The commands have different types.
  for (const command of [
    new GetVpcLinksCommand({}),
    new DeleteAuthorizerCommand({ restApiId: 'x', authorizerId: 'y' }),
  ])
    await assert.rejects(sdk.send(command as GetVpcLinksCommand), {
      name: 'UnknownOperationException',
      message: 'Unknown operation',
    })
  const answer = await fetch(`${gateway.url}/apikeys`, { method: 'PUT', body: '{}' })
  assert.deepEqual(
    [answer.status, answer.headers.get('x-amzn-errortype')],
    [404, 'UnknownOperationException'],
  )
  assert.ok(answer.headers.has('x-amzn-requestid'))
  assert.deepEqual(await answer.json(), { message: 'Unknown operation' })
})

test('tags that AWS refuses are refused', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  const many = Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`k${i}`, 'v']))
  for (const tags of [
    { 'aws:x': 'v' },
    { 'AWS:cloudformation': 'v' },
    { '': 'v' },
    { ['k'.repeat(129)]: 'v' },
    { k: 'v'.repeat(257) },
    { 'k#': 'v' },
    many,
  ]) {
    const refused = { name: 'BadRequestException' }
    await assert.rejects(sdk.send(new CreateApiKeyCommand({ name: 'a', tags })), refused)
    await assert.rejects(sdk.send(new CreateUsagePlanCommand({ name: 'a', tags })), refused)
  }
  assert.deepEqual([gateway.account.keys.size, gateway.account.plans.size], [0, 2])
  const { tags } = await sdk.send(new CreateApiKeyCommand({ name: 'a', tags: { 'my aws:x': 'Zoë 1+1=2' } }))
  assert.deepEqual(tags, { 'my aws:x': 'Zoë 1+1=2' })
})

test('patches of unknown paths, operations and values are refused, and then none of the call takes effect', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  const { id: apiKey } = await sdk.send(new CreateApiKeyCommand({ name: 'old', enabled: true }))
  const rename: PatchOperation = { op: 'replace', path: '/name', value: 'new' }
  const refused = { name: 'BadRequestException' }
  for (const one of [
    { op: 'replace', path: '/value', value: 'x' },
    { op: 'add', path: '/name', value: 'x' },
    { op: 'remove', path: '/description' },
    { op: 'copy', path: '/name', from: '/description' },
  ] satisfies PatchOperation[])
    await assert.rejects(
      sdk.send(new UpdateApiKeyCommand({ apiKey, patchOperations: [rename, one] })),
      refused,
    )
  assert.equal(gateway.account.key(apiKey ?? '').name, 'old')
  const other: PatchOperation[] = [{ op: 'replace', path: '/enabled', value: 'maybe' }]
  const { enabled } = await sdk.send(new UpdateApiKeyCommand({ apiKey, patchOperations: other }))
  assert.equal(enabled, false, 'any text but true is false, as with AWS')
  for (const one of [
    { op: 'replace', path: '/quota/limit', value: 'x' },
    { op: 'replace', path: '/quota/period', value: 'YEAR' },
    { op: 'add', path: '/name', value: 'x' },
    { op: 'add', path: '/apiStages', value: 'demo' },
    { op: 'replace', path: '/id', value: 'x' },
  ] satisfies PatchOperation[])
    await assert.rejects(
      sdk.send(new UpdateUsagePlanCommand({ usagePlanId: 'demofree', patchOperations: [rename, one] })),
      refused,
    )
  assert.equal(gateway.account.plan('demofree').name, 'free')
})
