import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CreateApiKeyCommand,
  CreateDeploymentCommand,
  CreateResourceCommand,
  CreateRestApiCommand,
  CreateStageCommand,
  CreateUsagePlanCommand,
  DeleteDeploymentCommand,
  DeleteMethodCommand,
  DeleteResourceCommand,
  DeleteRestApiCommand,
  DeleteStageCommand,
  GetAccountCommand,
  GetDeploymentCommand,
  GetDeploymentsCommand,
  GetIntegrationCommand,
  GetMethodCommand,
  GetResourceCommand,
  GetResourcesCommand,
  GetRestApiCommand,
  GetRestApisCommand,
  GetStageCommand,
  GetStagesCommand,
  GetTagsCommand,
  GetUsagePlanCommand,
  type PatchOperation,
  PutIntegrationCommand,
  PutIntegrationResponseCommand,
  PutMethodCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateAccountCommand,
  UpdateMethodCommand,
  UpdateRestApiCommand,
  UpdateStageCommand,
  UpdateUsagePlanCommand,
} from '@aws-sdk/client-api-gateway'
import { attachedKey, createMockApi, gatewayClient, putMockMethod } from '../support/gateway-client.ts'

const VALUE = 'A'.repeat(39)

const replace = (path: string, value: string): PatchOperation => ({ op: 'replace', path, value })

test('from nothing to an API that a key opens; the data plane obeys the deployment, not the API as edited', async (t) => {
  const { sdk, call, gateway } = await gatewayClient(t, { restApis: [], plans: [] })
  assert.deepEqual((await sdk.send(new GetRestApisCommand({}))).items, [])
  const { restApiId, resourceId } = await createMockApi(sdk)
  const path = `${restApiId}/prod/hello`
  const { id: usagePlanId = '' } = await sdk.send(
    new CreateUsagePlanCommand({ name: 'gold', apiStages: [{ apiId: restApiId, stage: 'prod' }] }),
  )
  await attachedKey(sdk, VALUE, usagePlanId)
  const statuses = async () => [(await call(undefined, path)).status, (await call(VALUE, path)).status]
  assert.deepEqual(await statuses(), [403, 200])
  assert.deepEqual(await (await call(VALUE, path)).json(), { message: 'Hello' })
  const elsewhere = await call(VALUE, `${restApiId}/prod/other`)
  assert.equal(elsewhere.headers.get('x-amzn-errortype'), 'MissingAuthenticationTokenException')
  assert.deepEqual(
    [elsewhere.status, await elsewhere.json()],
    [403, { message: 'Missing Authentication Token' }],
  )
  assert.equal((await call(VALUE, path, { method: 'POST', body: '{}' })).status, 403)

  const method = { restApiId, resourceId, httpMethod: 'GET' }
  const edited = await sdk.send(
    new UpdateMethodCommand({ ...method, patchOperations: [replace('/apiKeyRequired', 'false')] }),
  )
  assert.equal(edited.apiKeyRequired, false)
  assert.deepEqual(await statuses(), [403, 200], 'nothing changes before the deployment')
  const { id: deploymentId } = await sdk.send(new CreateDeploymentCommand({ restApiId, stageName: 'prod' }))
  assert.deepEqual(await statuses(), [200, 200])
  const deployment = await sdk.send(
    new GetDeploymentCommand({ restApiId, deploymentId, embed: ['apisummary'] }),
  )
  assert.deepEqual(deployment.apiSummary, {
    '/hello': { GET: { authorizationType: 'NONE', apiKeyRequired: false } },
  })
  assert.ok(deployment.createdDate instanceof Date)
  assert.equal(
    (await sdk.send(new GetStageCommand({ restApiId, stageName: 'prod' }))).deploymentId,
    deploymentId,
  )
  assert.partialDeepStrictEqual(gateway.calls.at(-1), {
    operation: 'GetStage',
    method: 'GET',
    path: `/restapis/${restApiId}/stages/prod`,
    status: 200,
  })
})

test('the header source and the authorization of a method are those of the deployment', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  const { restApiId, resourceId } = await createMockApi(sdk)
  const stage = { op: 'add', path: '/apiStages', value: `${restApiId}:prod` } as const
  await sdk.send(new UpdateUsagePlanCommand({ usagePlanId: 'demofree', patchOperations: [stage] }))
  await attachedKey(sdk, VALUE)
  const status = async () => (await call(VALUE, `${restApiId}/prod/hello`)).status
  const deploy = () => sdk.send(new CreateDeploymentCommand({ restApiId, stageName: 'prod' }))
  const patchApi = (one: PatchOperation) =>
    sdk.send(new UpdateRestApiCommand({ restApiId, patchOperations: [one] }))
  assert.equal(await status(), 200)
  assert.equal((await patchApi(replace('/apiKeySource', 'AUTHORIZER'))).apiKeySource, 'AUTHORIZER')
  assert.equal(await status(), 200)
  await deploy()
  assert.equal(await status(), 403)
  await patchApi(replace('/apiKeySource', 'HEADER'))
  assert.equal(await status(), 403)
  await deploy()
  assert.equal(await status(), 200)

  const method = { restApiId, resourceId, httpMethod: 'GET' }
  const iam = [replace('/authorizationType', 'AWS_IAM')]
  await sdk.send(new UpdateMethodCommand({ ...method, patchOperations: iam }))
  await deploy()
  assert.equal(await status(), 403)
  const custom = [replace('/authorizationType', 'CUSTOM')]
  await assert.rejects(sdk.send(new UpdateMethodCommand({ ...method, patchOperations: custom })), {
    name: 'BadRequestException',
  })
  custom.push(replace('/authorizerId', 'abc123'))
  await sdk.send(new UpdateMethodCommand({ ...method, patchOperations: custom }))
  await deploy()
  assert.equal(await status(), 401)
})

test('a default endpoint that is disabled is refused once a stage was changed', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  await attachedKey(sdk, VALUE)
  const patchOperations = [replace('/disableExecuteApiEndpoint', 'True')]
  const api = await sdk.send(new UpdateRestApiCommand({ restApiId: 'demo', patchOperations }))
  assert.equal(api.disableExecuteApiEndpoint, true)
  assert.equal((await call(VALUE)).status, 200)
  const described = [replace('/description', 'x')]
  await sdk.send(new UpdateStageCommand({ restApiId: 'demo', stageName: 'prod', patchOperations: described }))
  assert.equal((await call(VALUE)).status, 403)
})

test('a plan limits single methods of a stage, by patches as AWS, Terraform and a JSON value have them', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  await attachedKey(sdk, VALUE)
  const patch = (...patchOperations: PatchOperation[]) =>
    sdk.send(new UpdateUsagePlanCommand({ usagePlanId: 'demofree', patchOperations }))
  const base = '/apiStages/demo:prod/throttle'
  const { apiStages } = await patch(
    replace(`${base}/~1hello/ANY/rateLimit`, '0.001'),
    replace(`${base}/~1hello/ANY/burstLimit`, '2'),
    replace(`${base}//hello/{proxy+}/ANY/rateLimit`, '0'),
  )
  const throttle = {
    '/hello/ANY': { rateLimit: 0.001, burstLimit: 2 },
    '/hello/{proxy+}/ANY': { rateLimit: 0 },
  }
  assert.deepEqual(apiStages, [{ apiId: 'demo', stage: 'prod', throttle }])
  const statuses = [await call(VALUE), await call(VALUE), await call(VALUE)].map(({ status }) => status)
  assert.deepEqual(statuses, [200, 200, 429])
  assert.equal((await call(VALUE, 'demo/prod/hello/x')).status, 429)

  await patch({ op: 'remove', path: `${base}/~1hello/ANY` })
  assert.equal((await call(VALUE)).status, 200)
  const all = { '/hello/ANY': { rateLimit: 1, burstLimit: 1 } }
  assert.deepEqual((await patch(replace(base, JSON.stringify(all)))).apiStages?.[0]?.throttle, all)
  assert.equal((await patch({ op: 'remove', path: base })).apiStages?.[0]?.throttle, undefined)
  for (const [one, name] of [
    [replace('/apiStages/demo:none/throttle/~1hello/GET/rateLimit', '1'), 'NotFoundException'],
    [replace(`${base}/~1hello/FETCH/rateLimit`, '1'), 'BadRequestException'],
    [replace(`${base}/~1hello/GET/rateLimit`, 'many'), 'BadRequestException'],
    [replace(base, 'x'), 'BadRequestException'],
    [{ op: 'add', path: '/apiStages', value: 'demo:none' }, 'NotFoundException'],
    [{ op: 'add', path: '/apiStages', value: 'demo:prod' }, 'ConflictException'],
    [{ op: 'remove', path: '/apiStages', value: 'demo:none' }, 'NotFoundException'],
  ] satisfies [PatchOperation, string][])
    await assert.rejects(patch(one), { name })
})

test('a plan with a productCode, without limits, or with others shows them', async (t) => {
  const { sdk } = await gatewayClient(t)
  const { productCode, throttle, quota } = await sdk.send(
    new UpdateUsagePlanCommand({
      usagePlanId: 'demofree',
      patchOperations: [
        replace('/productCode', 'abc'),
        { op: 'remove', path: '/throttle' },
        { op: 'remove', path: '/quota' },
      ],
    }),
  )
  assert.deepEqual([productCode, throttle, quota], ['abc', undefined, undefined])
})

test('a plan loses a stage that is deleted, also if it is made again', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  await attachedKey(sdk, VALUE)
  const stage = { restApiId: 'demo', stageName: 'prod' }
  const { deploymentId } = await sdk.send(new GetStageCommand(stage))
  const removal = sdk.send(new DeleteDeploymentCommand({ restApiId: 'demo', deploymentId }))
  await assert.rejects(removal, {
    name: 'BadRequestException',
    message: 'Active stages pointing to this deployment must be moved or deleted',
  })
  await sdk.send(new DeleteStageCommand(stage))
  assert.equal((await call(VALUE)).status, 403)
  await sdk.send(new CreateStageCommand({ ...stage, deploymentId }))
  const plan = await sdk.send(new GetUsagePlanCommand({ usagePlanId: 'demofree' }))
  assert.deepEqual(plan.apiStages, [])
  assert.equal((await call(VALUE)).status, 403)
  const { item } = await sdk.send(new GetStagesCommand({ restApiId: 'demo' }))
  assert.deepEqual(
    item?.map(({ stageName }) => stageName),
    ['prod'],
  )
  await sdk.send(new DeleteStageCommand(stage))
  await sdk.send(new DeleteDeploymentCommand({ restApiId: 'demo', deploymentId }))
  assert.deepEqual((await sdk.send(new GetDeploymentsCommand({ restApiId: 'demo' }))).items, [])
  await sdk.send(new DeleteRestApiCommand({ restApiId: 'demo' }))
  await assert.rejects(sdk.send(new GetRestApiCommand({ restApiId: 'demo' })), { name: 'NotFoundException' })
})

test('a stage limits its methods, with a key and without one, and those of one method stand for all', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  const { restApiId, resourceId } = await createMockApi(sdk)
  await putMockMethod(sdk, restApiId, resourceId, 'POST', false)
  await sdk.send(new CreateDeploymentCommand({ restApiId, stageName: 'prod' }))
  const update = (...patchOperations: PatchOperation[]) =>
    sdk.send(new UpdateStageCommand({ restApiId, stageName: 'prod', patchOperations }))
  const post = async () => (await call(undefined, `${restApiId}/prod/hello`, { method: 'POST' })).status
  await update(replace('/*/*/throttling/rateLimit', '0'))
  assert.equal(await post(), 429)
  await update(
    replace('/~1hello/POST/throttling/rateLimit', '0.001'),
    replace('/~1hello/POST/throttling/burstLimit', '1'),
  )
  assert.deepEqual([await post(), await post()], [200, 429])
})

test('stages: variables, canary, settings of methods, and what only shows', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  const { restApiId, resourceId } = await createMockApi(sdk)
  await sdk.send(new DeleteMethodCommand({ restApiId, resourceId, httpMethod: 'GET' }))
  await putMockMethod(sdk, restApiId, resourceId, 'GET', false)
  const { id = '' } = await sdk.send(new CreateDeploymentCommand({ restApiId, description: 'open' }))
  const update = (...patchOperations: PatchOperation[]) =>
    sdk.send(new UpdateStageCommand({ restApiId, stageName: 'prod', patchOperations }))
  const stage = await update(
    replace('/variables/color', 'blue'),
    replace('/description', 'x'),
    replace('/tracingEnabled', 'true'),
    replace('/canarySettings/percentTraffic', '100'),
    replace('/canarySettings/deploymentId', id),
    replace('/~1hello/GET/throttling/rateLimit', '5.5'),
    replace('/*/*/logging/loglevel', 'INFO'),
  )
  assert.deepEqual(
    [stage.variables, stage.description, stage.tracingEnabled, stage.canarySettings],
    [{ color: 'blue' }, 'x', true, { percentTraffic: 100, deploymentId: id, useStageCache: false }],
  )
  const { 'hello/GET': ofMethod, '*/*': ofAll } = stage.methodSettings ?? {}
  assert.deepEqual(
    [ofMethod?.throttlingRateLimit, ofMethod?.throttlingBurstLimit, ofAll?.loggingLevel],
    [5.5, 5_000, 'INFO'],
    'one setting brings the defaults of the others',
  )
  const status = async () => (await call(undefined, `${restApiId}/prod/hello`)).status
  assert.equal(await status(), 200, 'the canary serves')
  await update(
    { op: 'copy', path: '/deploymentId', from: '/canarySettings/deploymentId' },
    { op: 'remove', path: '/canarySettings' },
    { op: 'remove', path: '/*/*' },
    { op: 'remove', path: '/variables/color' },
  )
  assert.equal(await status(), 200)
  for (const [one, name] of [
    [replace('/deploymentId', 'none00'), 'NotFoundException'],
    [replace('/stageName', 'x'), 'BadRequestException'],
    [replace('/~1hello/GET/throttling/speed', '1'), 'BadRequestException'],
    [replace('/canarySettings/percentTraffic', '101'), 'BadRequestException'],
    [replace('/canarySettings/deploymentId', 'none00'), 'BadRequestException'],
    [{ op: 'remove', path: '/*/*' }, 'BadRequestException'],
    [{ op: 'copy', path: '/deploymentId', from: '/canarySettings/deploymentId' }, 'BadRequestException'],
  ] satisfies [PatchOperation, string][])
    await assert.rejects(update(one), { name })
})

test('a canary deployment leaves the stage its own, and needs a stage', async (t) => {
  const { sdk } = await gatewayClient(t)
  const { restApiId } = await createMockApi(sdk)
  const deployCanary = (stageName: string) =>
    sdk.send(new CreateDeploymentCommand({ restApiId, stageName, canarySettings: { percentTraffic: 10 } }))
  const { deploymentId } = await sdk.send(new GetStageCommand({ restApiId, stageName: 'prod' }))
  const { id } = await deployCanary('prod')
  const stage = await sdk.send(new GetStageCommand({ restApiId, stageName: 'prod' }))
  assert.equal(stage.deploymentId, deploymentId)
  assert.deepEqual(stage.canarySettings, { percentTraffic: 10, deploymentId: id, useStageCache: false })
  await assert.rejects(deployCanary('other'), { name: 'BadRequestException' })
})

test('resources are listed with their methods on request, and deleted with all below', async (t) => {
  const { sdk } = await gatewayClient(t)
  const list = async (embed?: string[]) =>
    (await sdk.send(new GetResourcesCommand({ restApiId: 'demo', embed }))).items ?? []
  assert.deepEqual(
    (await list()).map(({ path, resourceMethods }) => [path, resourceMethods]),
    [
      ['/', undefined],
      ['/hello', { ANY: {} }],
      ['/hello/{proxy+}', { ANY: {} }],
    ],
  )
  const hello = (await list(['methods'])).find(({ path }) => path === '/hello')
  assert.equal(hello?.resourceMethods?.['ANY']?.apiKeyRequired, true)
  const { id: resourceId = '', parentId } = hello ?? {}
  const one = await sdk.send(new GetResourceCommand({ restApiId: 'demo', resourceId, embed: ['methods'] }))
  assert.equal(one.resourceMethods?.['ANY']?.authorizationType, 'NONE')
  const method = { restApiId: 'demo', resourceId, httpMethod: 'ANY' }
  assert.equal((await sdk.send(new GetMethodCommand(method))).methodIntegration?.type, 'HTTP_PROXY')
  assert.equal((await sdk.send(new GetIntegrationCommand(method))).timeoutInMillis, 29_000)
  await assert.rejects(sdk.send(new DeleteResourceCommand({ restApiId: 'demo', resourceId: parentId })), {
    name: 'BadRequestException',
  })
  await sdk.send(new DeleteResourceCommand({ restApiId: 'demo', resourceId }))
  assert.deepEqual(
    (await list()).map(({ path }) => path),
    ['/'],
  )
})

test('bad input gets the errors of AWS', async (t) => {
  const { sdk } = await gatewayClient(t)
  const { restApiId, rootResourceId, resourceId } = await createMockApi(sdk)
  const empty = await sdk.send(new CreateRestApiCommand({ name: 'empty' }))
  const method = { restApiId, resourceId, httpMethod: 'POST' }
  const child = (pathPart: string, parentId = rootResourceId) =>
    new CreateResourceCommand({ restApiId, parentId, pathPart })
  await sdk.send(child('{id}'))
  const bad = (patchOperations: PatchOperation[]) => new UpdateRestApiCommand({ restApiId, patchOperations })
  const cases: [{ readonly input: object }, string, RegExp][] = [
    [
      new GetRestApiCommand({ restApiId: 'none' }),
      'NotFoundException',
      /^Invalid API identifier specified 123456789012:none$/,
    ],
    [
      new GetResourceCommand({ restApiId, resourceId: 'x' }),
      'NotFoundException',
      /^Invalid Resource identifier/,
    ],
    [new GetMethodCommand(method), 'NotFoundException', /^Invalid Method identifier/],
    [
      new GetStageCommand({ restApiId, stageName: 'dev' }),
      'NotFoundException',
      /^Invalid stage identifier specified$/,
    ],
    [
      new GetDeploymentCommand({ restApiId, deploymentId: 'x' }),
      'NotFoundException',
      /^Invalid Deployment identifier/,
    ],
    [
      new CreateDeploymentCommand({ restApiId: empty.id }),
      'BadRequestException',
      /^The REST API doesn't contain any methods$/,
    ],
    [
      new CreateStageCommand({ restApiId, stageName: 'a b', deploymentId: 'x' }),
      'BadRequestException',
      /^Stage name only allows/,
    ],
    [
      new CreateStageCommand({ restApiId, stageName: 'prod', deploymentId: 'x' }),
      'ConflictException',
      /^Stage already exists$/,
    ],
    [
      child('hello'),
      'ConflictException',
      /^Another resource with the same parent already has this name: hello$/,
    ],
    [child('a/b'), 'BadRequestException', /path part only allow/],
    [child('{other}'), 'BadRequestException', /^A sibling \({id}\) of this resource/],
    [
      new PutMethodCommand({ ...method, httpMethod: 'GET', authorizationType: 'NONE' }),
      'ConflictException',
      /^Method already exists/,
    ],
    [
      new PutMethodCommand({ ...method, authorizationType: 'MAGIC' }),
      'BadRequestException',
      /authorizationType/,
    ],
    [new PutMethodCommand({ ...method, authorizationType: 'CUSTOM' }), 'BadRequestException', /authorizer/],
    [
      new PutIntegrationCommand({ ...method, httpMethod: 'GET', type: 'HTTP' }),
      'BadRequestException',
      /HttpMethod must be non-empty/,
    ],
    [
      new PutIntegrationResponseCommand({ ...method, httpMethod: 'GET', statusCode: '404' }),
      'NotFoundException',
      /^Invalid Response status code/,
    ],
    [bad([replace('/apiKeySource', 'COOKIE')]), 'BadRequestException', /HEADER/],
    [
      bad([{ op: 'add', path: '/name', value: 'x' }]),
      'BadRequestException',
      /^Invalid patch operation specified/,
    ],
    [
      bad([replace('/endpointConfiguration/types/0', 'LOCAL')]),
      'BadRequestException',
      /^Invalid EndpointTypes/,
    ],
    [
      bad([
        replace('/endpointConfiguration/types/0', 'PRIVATE'),
        replace('/endpointConfiguration/ipAddressType', 'ipv4'),
      ]),
      'BadRequestException',
      /^Only dualstack/,
    ],
    [new CreateRestApiCommand({ name: 'a', description: '' }), 'BadRequestException', /^Description cannot/],
    [new CreateDeploymentCommand({ restApiId, stageName: 'a b' }), 'BadRequestException', /^Stage name only/],
    [new GetMethodCommand({ ...method, restApiId: 'none' }), 'NotFoundException', /^Invalid Resource/],
    [
      new PutMethodCommand({ ...method, httpMethod: 'FETCH', authorizationType: 'NONE' }),
      'BadRequestException',
      /^Invalid HttpMethod specified\. Valid options are GET,/,
    ],
    [bad([replace('/name', 'new'), replace('/id', 'x')]), 'BadRequestException', /^Invalid patch path \/id$/],
    [bad([replace('/policy', '{')]), 'BadRequestException', /^Invalid policy document/],
  ]
  for (const [command, name, message] of cases)
    await assert.rejects(sdk.send(command as GetRestApiCommand), { name, message })
  assert.equal((await sdk.send(new GetRestApiCommand({ restApiId }))).name, 'mock')
  const { items } = await sdk.send(new GetDeploymentsCommand({ restApiId }))
  assert.equal(items?.length, 1, 'a deployment that is refused leaves nothing')
})

test('an API shows what was set; its policy has escaped quotes, as with AWS', async (t) => {
  const { sdk } = await gatewayClient(t)
  const policy = '{"Version":"2012-10-17","Statement":[]}'
  const { id: restApiId, ...api } = await sdk.send(
    new CreateRestApiCommand({ name: 'private', policy, tags: { team: 'a' }, version: '1' }),
  )
  assert.deepEqual(
    [api.policy, api.tags, api.apiKeySource, api.endpointConfiguration],
    [
      JSON.stringify(policy).slice(1, -1),
      { team: 'a' },
      'HEADER',
      { types: ['EDGE'], ipAddressType: 'ipv4' },
    ],
  )
  const changed = await sdk.send(
    new UpdateRestApiCommand({
      restApiId,
      patchOperations: [
        replace('/endpointConfiguration/types/EDGE', 'PRIVATE'),
        { op: 'add', path: '/endpointConfiguration/vpcEndpointIds', value: 'vpce-1' },
        { op: 'add', path: '/binaryMediaTypes/image~1png' },
        { op: 'remove', path: '/policy' },
        replace('/description', 'x'),
      ],
    }),
  )
  assert.deepEqual(
    [changed.endpointConfiguration, changed.binaryMediaTypes, changed.policy, changed.description],
    [
      { types: ['PRIVATE'], ipAddressType: 'dualstack', vpcEndpointIds: ['vpce-1'] },
      ['image/png'],
      undefined,
      'x',
    ],
  )
})

test('an account without usage plans opens for no key; UpdateAccount enables them for good', async (t) => {
  const { sdk, gateway, call } = await gatewayClient(t)
  await attachedKey(sdk, VALUE)
  const healthy = await sdk.send(new GetAccountCommand({}))
  assert.deepEqual([healthy.features, healthy.apiKeyVersion], [['UsagePlans'], '4'])
  gateway.account.settings.features = []
  assert.equal((await call(VALUE)).status, 403)
  const update = (one: PatchOperation) => sdk.send(new UpdateAccountCommand({ patchOperations: [one] }))
  const features = { path: '/features', value: 'UsagePlans' }
  assert.deepEqual((await update({ op: 'add', ...features })).features, ['UsagePlans'])
  assert.equal((await call(VALUE)).status, 200)
  const role = 'arn:aws:iam::123456789012:role/logs'
  assert.equal((await update(replace('/cloudwatchRoleArn', role))).cloudwatchRoleArn, role)
  for (const one of [
    { op: 'remove', ...features },
    replace('/apiKeyVersion', '1'),
    replace('/cloudwatchRoleArn', 'x'),
  ])
    await assert.rejects(update(one as PatchOperation), { name: 'BadRequestException' })
})

test('tags are put, read and removed by the ARN of an API, stage, plan, key or domain', async (t) => {
  const { sdk, gateway } = await gatewayClient(t)
  const { id: keyId = '' } = await sdk.send(new CreateApiKeyCommand({ name: 'a' }))
  const arn = (path: string) => `arn:aws:apigateway:eu-west-1::/${path}`
  for (const path of [
    'restapis/demo',
    'restapis/demo/stages/prod',
    'usageplans/demofree',
    `apikeys/${keyId}`,
  ]) {
    const resourceArn = arn(path)
    await sdk.send(new TagResourceCommand({ resourceArn, tags: { a: '1', b: '2', c: '3' } }))
    await sdk.send(new UntagResourceCommand({ resourceArn, tagKeys: ['a', 'b'] }))
    assert.deepEqual((await sdk.send(new GetTagsCommand({ resourceArn }))).tags, { c: '3' }, path)
  }
  assert.deepEqual((await sdk.send(new GetRestApiCommand({ restApiId: 'demo' }))).tags, { c: '3' })
  const owner = { 'aws:cloudformation:stack-name': 'web' }
  gateway.account.restApis.get('demo').tags = owner
  const resourceArn = arn('restapis/demo')
  await sdk.send(new TagResourceCommand({ resourceArn, tags: { a: '1' } }))
  assert.deepEqual((await sdk.send(new GetTagsCommand({ resourceArn }))).tags, { ...owner, a: '1' })
  for (const [command, name] of [
    [new TagResourceCommand({ resourceArn, tags: owner }), 'BadRequestException'],
    [new UntagResourceCommand({ resourceArn, tagKeys: Object.keys(owner) }), 'BadRequestException'],
    [new GetTagsCommand({ resourceArn: 'arn:aws:s3:::bucket' }), 'BadRequestException'],
    [
      new GetTagsCommand({ resourceArn: resourceArn.replace('eu-west-1', 'us-east-1') }),
      'BadRequestException',
    ],
    [new GetTagsCommand({ resourceArn: arn('restapis/none') }), 'NotFoundException'],
    [new GetTagsCommand({ resourceArn: arn('domainnames/none.example.com') }), 'NotFoundException'],
  ] as const)
    await assert.rejects(sdk.send(command as GetTagsCommand), { name })
})

test('a resource policy counts once it is deployed, and a private API has no public endpoint', async (t) => {
  const { sdk, call } = await gatewayClient(t)
  await attachedKey(sdk, VALUE)
  const allow = { Effect: 'Allow', Principal: '*', Action: 'execute-api:Invoke', Resource: 'execute-api:/*' }
  const setPolicy = (...Statement: object[]) =>
    sdk.send(
      new UpdateRestApiCommand({
        restApiId: 'demo',
        patchOperations: [replace('/policy', JSON.stringify({ Version: '2012-10-17', Statement }))],
      }),
    )
  const deploy = () => sdk.send(new CreateDeploymentCommand({ restApiId: 'demo', stageName: 'prod' }))
  const elsewhere = { IpAddress: { 'aws:SourceIp': ['192.0.2.0/24', '2001:db8::1'] } }
  const here = { NotIpAddress: elsewhere.IpAddress }
  for (const [statements, status] of [
    [[allow], 200],
    [[{ ...allow, Condition: elsewhere }], 403],
    [[allow, { ...allow, Effect: 'Deny', Resource: 'arn:aws:execute-api:*:*:demo/prod/GET/hello' }], 403],
    [[allow, { ...allow, Effect: 'Deny', Condition: here }], 403],
    [[allow, { ...allow, Effect: 'Deny', Condition: elsewhere }], 200],
  ] as const) {
    const before = (await call(VALUE)).status
    await setPolicy(...statements)
    assert.equal((await call(VALUE)).status, before)
    await deploy()
    const answer = await call(VALUE)
    assert.equal(answer.status, status)
    if (status === 403)
      assert.match(
        await answer.text(),
        /^{"Message":"User: anonymous is not authorized to perform: execute-api:Invoke/,
      )
  }
  const types = [replace('/endpointConfiguration/types/REGIONAL', 'PRIVATE')]
  await sdk.send(new UpdateRestApiCommand({ restApiId: 'demo', patchOperations: types }))
  assert.equal((await call(VALUE)).status, 403)
})
