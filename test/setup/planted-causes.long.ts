// Every cause of a refused key that can be read, planted as an operator would cause it: doctor names it, its place and its
// mend, and nothing else; the printed mend makes the API healthy.
import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import {
  CreateApiKeyCommand,
  CreateBasePathMappingCommand,
  CreateDeploymentCommand,
  CreateDomainNameCommand,
  CreateStageCommand,
  CreateUsagePlanCommand,
  CreateUsagePlanKeyCommand,
  DeleteApiKeyCommand,
  DeleteMethodCommand,
  DeleteStageCommand,
  DeleteUsagePlanKeyCommand,
  GetStageCommand,
  type PatchOperation,
  UpdateApiKeyCommand,
  UpdateMethodCommand,
  UpdateRestApiCommand,
  UpdateStageCommand,
  UpdateUsageCommand,
  UpdateUsagePlanCommand,
} from '@aws-sdk/client-api-gateway'
import { defaultGatewayOptions } from '../../emulator/options.ts'
import type { Diagnosis } from '../../src/setup/diagnose.ts'
import { askDoctor } from '../support/ask-doctor.ts'
import { startAwsCli } from '../support/aws-cli/run.ts'
import { startEmptyGateway } from '../support/gateways/local.ts'
import { statusOf } from '../support/gateways/tested-gateway.ts'
import { CERTIFICATE, createTestApi, putTestMethod, type TestApi } from '../support/rest-api.ts'

/** A healthy API with two plans, and a key on the second one. */
interface World extends Awaited<ReturnType<typeof startEmptyGateway>> {
  readonly api: TestApi
  /** The target of the question to doctor. */
  readonly target: { api: string; stage: string }
  readonly free: string
  readonly gold: string
  readonly key: { readonly id: string; readonly value: string }
  /** The value that doctor is asked about; `null`: it is asked about no key. */
  asked: string | null
  /** The environment of the service, as far as it is set. */
  readonly env: Record<string, string>
}

const METHODS = {
  'GET /hello': { apiKeyRequired: true },
  'GET /orders': { apiKeyRequired: true },
  'POST /orders': { apiKeyRequired: true },
  'OPTIONS /orders': { apiKeyRequired: false },
  'GET /orders/{id}': { apiKeyRequired: true },
  'ANY /files/{path+}': { apiKeyRequired: true },
}

// The SDK reads its credentials from the environment of this process.
process.env['AWS_ACCESS_KEY_ID'] = defaultGatewayOptions.accessKeyId
process.env['AWS_SECRET_ACCESS_KEY'] = defaultGatewayOptions.secretAccessKey

async function createWorld(t: TestContext): Promise<World> {
  const gateway = await startEmptyGateway(t, { httpApis: [{ apiId: 'h1h2h3h4h5', name: 'http' }] })
  const { sdk } = gateway
  const api = await createTestApi(sdk, METHODS)
  const apiStages = [{ apiId: api.id, stage: 'prod' }]
  const createPlan = async (name: string) => {
    const limits = {
      throttle: { rateLimit: 100, burstLimit: 100 },
      quota: { limit: 10, period: 'DAY' as const },
    }
    return (await sdk.send(new CreateUsagePlanCommand({ name, apiStages, ...limits }))).id ?? ''
  }
  const [free, gold] = [await createPlan('free'), await createPlan('gold')]
  const { id: keyId = '', value = '' } = await sdk.send(new CreateApiKeyCommand({ name: 'k', enabled: true }))
  await sdk.send(new CreateUsagePlanKeyCommand({ usagePlanId: gold, keyId, keyType: 'API_KEY' }))
  const env = {
    ...gateway.env,
    USAGE_PLANS: `free=${free},gold=${gold}`,
    API_BASE_URL: gateway.stageUrl(api.id, 'prod'),
    API_PROBE_PATH: '/orders',
  }
  return {
    ...gateway,
    env,
    api,
    target: { api: api.id, stage: 'prod' },
    free,
    gold,
    key: { id: keyId, value },
    asked: value,
  }
}

interface PlantedCause {
  plant(world: World): unknown
  /** A request, and what the data plane wrongly answers. */
  readonly symptom?: readonly [request: string, key: 'with the key' | 'without a key', status: number]
  /** The check that names it. */
  readonly check: string
  readonly status?: 'warning'
  /** The places that are named, one for each finding. */
  readonly where: (world: World) => readonly Record<string, string>[]
  /** What the message has to name besides. */
  readonly names?: readonly string[]
  /** `aws`: the printed commands mend it. */
  readonly mend: 'aws' | 'firstkey' | 'operator' | 'tool' | 'none'
}

const patch = (op: 'add' | 'remove' | 'replace', path: string, value?: string): PatchOperation => ({
  ...{ op, path },
  ...(value === undefined ? {} : { value }),
})

const patchPlan = ({ sdk }: World, usagePlanId: string, ...patchOperations: PatchOperation[]) =>
  sdk.send(new UpdateUsagePlanCommand({ usagePlanId, patchOperations }))

const patchApi = ({ sdk, api }: World, ...patchOperations: PatchOperation[]) =>
  sdk.send(new UpdateRestApiCommand({ restApiId: api.id, patchOperations }))

function patchMethod({ sdk, api }: World, method: string, ...patchOperations: PatchOperation[]) {
  const [httpMethod, path = ''] = method.split(' ')
  const resourceId = api.resources.get(path)
  return sdk.send(new UpdateMethodCommand({ restApiId: api.id, resourceId, httpMethod, patchOperations }))
}

const requireKey = (world: World, method: string, required: boolean) =>
  patchMethod(world, method, patch('replace', '/apiKeyRequired', String(required)))

const patchStage = ({ sdk, api }: World, ...patchOperations: PatchOperation[]) =>
  sdk.send(new UpdateStageCommand({ restApiId: api.id, stageName: 'prod', patchOperations }))

const deploy = ({ sdk, api }: World, stageName = 'prod') =>
  sdk.send(new CreateDeploymentCommand({ restApiId: api.id, stageName }))

/** Opens methods to everybody. */
async function openMethods(world: World, ...methods: readonly string[]) {
  for (const method of methods) await requireKey(world, method, false)
  await deploy(world)
}

async function recreateStage({ sdk, api }: World) {
  const stage = { restApiId: api.id, stageName: 'prod' }
  const { deploymentId } = await sdk.send(new GetStageCommand(stage))
  await sdk.send(new DeleteStageCommand(stage))
  await sdk.send(new CreateStageCommand({ ...stage, deploymentId }))
}

/** Points `API_BASE_URL` at a custom domain, with a mapping of `v1`. */
async function mapDomain(world: World, mapping: { restApiId: string; stage: string }) {
  const { sdk, env } = world
  const domainName = 'api.example.com'
  await sdk.send(
    new CreateDomainNameCommand({
      domainName,
      regionalCertificateArn: CERTIFICATE,
      endpointConfiguration: { types: ['REGIONAL'] },
    }),
  )
  await sdk.send(new CreateBasePathMappingCommand({ domainName, basePath: 'v1', ...mapping }))
  env['API_BASE_URL'] = `https://${domainName}/v1`
  // The domain leads to no server here, which could answer a key.
  world.asked = null
}

const SEVERAL = ['POST /orders', 'GET /orders/{id}', 'ANY /files/{path+}']

const at = ({ target }: World, method?: string) => {
  const [httpMethod = '', path = ''] = method?.split(' ') ?? []
  return { ...target, ...(method === undefined ? {} : { path, method: httpMethod }) }
}
const onPlan = (world: World, plan: 'free' | 'gold') => ({ plan, usagePlanId: world[plan] })

const CAUSES: Record<string, PlantedCause> = {
  'the plan lacks the stage': {
    plant: (w) => patchPlan(w, w.gold, patch('remove', '/apiStages', `${w.api.id}:prod`)),
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'plan-stage', where: (w) => [onPlan(w, 'gold')], mend: 'aws' },
  },
  'every plan lost the stage as it was deleted and created again': {
    plant: recreateStage,
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'plan-stage', where: (w) => [onPlan(w, 'free'), onPlan(w, 'gold')], mend: 'aws' },
  },
  'the API was deployed to a new stage': {
    plant: async (w) => {
      await deploy(w, 'v2')
      w.target.stage = 'v2'
      w.env['API_BASE_URL'] = w.stageUrl(w.api.id, 'v2')
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'plan-stage', where: (w) => [onPlan(w, 'free'), onPlan(w, 'gold')], mend: 'aws' },
  },
  'a method requires a key and was not deployed since': {
    plant: async (w) => {
      await openMethods(w, 'GET /hello')
      await requireKey(w, 'GET /hello', true)
    },
    symptom: ['GET /hello', 'without a key', 200],
    ...{ check: 'not-deployed', where: (w) => [at(w, 'GET /hello')], mend: 'aws' },
  },
  'several methods require a key and were not deployed since': {
    plant: async (w) => {
      await openMethods(w, ...SEVERAL)
      for (const method of SEVERAL) await requireKey(w, method, true)
    },
    symptom: ['GET /orders/{id}', 'without a key', 200],
    ...{ check: 'not-deployed', where: (w) => [at(w)], names: SEVERAL, mend: 'aws' },
  },
  'a method requires no key any more and was not deployed since': {
    plant: (w) => requireKey(w, 'ANY /files/{path+}', false),
    ...{ check: 'not-deployed', status: 'warning', where: (w) => [at(w, 'ANY /files/{path+}')], mend: 'aws' },
  },
  'a method requires no key, others do': {
    plant: (w) => openMethods(w, 'GET /hello'),
    symptom: ['GET /hello', 'without a key', 200],
    ...{ check: 'key-required', status: 'warning', where: (w) => [at(w, 'GET /hello')], mend: 'aws' },
  },
  'several methods require no key, others do': {
    plant: (w) => openMethods(w, ...SEVERAL),
    symptom: ['ANY /files/{path+}', 'without a key', 200],
    ...{ check: 'key-required', status: 'warning', where: (w) => [at(w)], names: SEVERAL, mend: 'aws' },
  },
  'the method of API_PROBE_PATH requires no key': {
    plant: (w) => openMethods(w, 'GET /orders'),
    symptom: ['GET /orders', 'without a key', 200],
    ...{ check: 'probe-path', where: (w) => [at(w, 'GET /orders')], mend: 'aws' },
  },
  'OPTIONS requires no key any more and was not deployed since': {
    plant: async (w) => {
      await requireKey(w, 'OPTIONS /orders', true)
      await deploy(w)
      await requireKey(w, 'OPTIONS /orders', false)
    },
    symptom: ['OPTIONS /orders', 'without a key', 403],
    ...{ check: 'not-deployed', where: (w) => [at(w, 'OPTIONS /orders')], mend: 'aws' },
  },
  'no method requires a key': {
    plant: async (w) => {
      await openMethods(w, ...Object.keys(METHODS))
    },
    symptom: ['GET /hello', 'without a key', 200],
    ...{ check: 'key-required', where: (w) => [at(w)], mend: 'aws' },
  },
  'a method was added and not deployed': {
    plant: (w) => putTestMethod(w.sdk, w.api, 'PUT /orders/{id}/state', { apiKeyRequired: true }),
    symptom: ['PUT /orders/{id}/state', 'with the key', 403],
    ...{
      check: 'not-deployed',
      status: 'warning',
      where: (w) => [at(w, 'PUT /orders/{id}/state')],
      mend: 'aws',
    },
  },
  'a method was deleted and not deployed': {
    plant: ({ sdk, api }) => {
      const resourceId = api.resources.get('/orders')
      return sdk.send(new DeleteMethodCommand({ restApiId: api.id, resourceId, httpMethod: 'POST' }))
    },
    ...{ check: 'not-deployed', status: 'warning', where: (w) => [at(w, 'POST /orders')], mend: 'aws' },
  },
  'OPTIONS requires a key': {
    plant: async (w) => {
      await requireKey(w, 'OPTIONS /orders', true)
      await deploy(w)
    },
    symptom: ['OPTIONS /orders', 'without a key', 403],
    ...{ check: 'options-open', where: (w) => [at(w, 'OPTIONS /orders')], mend: 'aws' },
  },
  'the authorizer is the source of keys': {
    plant: async (w) => {
      await patchApi(w, patch('replace', '/apiKeySource', 'AUTHORIZER'))
      await deploy(w)
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'key-source', where: (w) => [at(w)], mend: 'aws' },
  },
  'the authorizer becomes the source of keys with the next deployment': {
    plant: (w) => patchApi(w, patch('replace', '/apiKeySource', 'AUTHORIZER')),
    ...{ check: 'key-source', status: 'warning', where: (w) => [at(w)], mend: 'aws' },
  },
  'the header is the source of keys and was not deployed': {
    plant: async (w) => {
      await patchApi(w, patch('replace', '/apiKeySource', 'AUTHORIZER'))
      await deploy(w)
      await patchApi(w, patch('replace', '/apiKeySource', 'HEADER'))
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'key-source', where: (w) => [at(w)], mend: 'aws' },
  },
  'IAM authorizes a method as well': {
    plant: async (w) => {
      await patchMethod(w, 'GET /orders/{id}', patch('replace', '/authorizationType', 'AWS_IAM'))
      await deploy(w)
    },
    symptom: ['GET /orders/{id}', 'with the key', 403],
    ...{
      check: 'authorization',
      status: 'warning',
      where: (w) => [at(w, 'GET /orders/{id}')],
      mend: 'operator',
    },
  },
  'an authorizer decides about a method as well': {
    plant: async (w) => {
      const custom = [
        patch('replace', '/authorizationType', 'CUSTOM'),
        patch('replace', '/authorizerId', 'abc123'),
      ]
      await patchMethod(w, 'POST /orders', ...custom)
      await deploy(w)
    },
    symptom: ['POST /orders', 'with the key', 401],
    ...{ check: 'authorization', status: 'warning', where: (w) => [at(w, 'POST /orders')], mend: 'operator' },
  },
  'the default endpoint is disabled': {
    plant: async (w) => {
      await patchApi(w, patch('replace', '/disableExecuteApiEndpoint', 'true'))
      await deploy(w)
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'default-endpoint', where: (w) => [{ api: w.api.id }], mend: 'aws' },
  },
  'the default endpoint will be disabled with the next change of a stage': {
    plant: (w) => patchApi(w, patch('replace', '/disableExecuteApiEndpoint', 'true')),
    ...{ check: 'default-endpoint', where: (w) => [{ api: w.api.id }], mend: 'aws' },
  },
  'a resource policy denies callers': {
    plant: async (w) => {
      await patchApi(w, patch('replace', '/policy', DENY_ALL))
      await deploy(w)
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'resource-policy', where: (w) => [{ api: w.api.id }], mend: 'operator' },
  },
  'AWS WAF stands before the stage': {
    plant: async ({ gateway, api }) => {
      const stage = gateway.account.restApis.get(api.id).stages.get('prod')
      assert.ok(stage)
      stage.webAclArn = 'arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/acl/1'
    },
    ...{ check: 'web-acl', status: 'warning', where: (w) => [at(w)], mend: 'operator' },
  },
  'a canary has other methods': {
    plant: async (w) => {
      await requireKey(w, 'GET /hello', false)
      const canarySettings = { percentTraffic: 10 }
      await w.sdk.send(
        new CreateDeploymentCommand({ restApiId: w.api.id, stageName: 'prod', canarySettings }),
      )
      await requireKey(w, 'GET /hello', true)
    },
    ...{ check: 'canary', status: 'warning', where: (w) => [at(w)], mend: 'aws' },
  },
  ...Object.fromEntries(
    (
      [
        ['rate', '/throttle/rateLimit'],
        ['burst', '/throttle/burstLimit'],
        ['quota', '/quota/limit'],
      ] as const
    ).map(([limit, path]) => [
      `the ${limit} of a plan is 0`,
      {
        plant: (w) => patchPlan(w, w.gold, patch('replace', path, '0')),
        symptom: ['GET /hello', 'with the key', 429],
        ...{ check: 'plan-limits', where: (w) => [onPlan(w, 'gold')], mend: 'aws' },
      } satisfies PlantedCause,
    ]),
  ),
  'the rate of a method is 0 on a plan': {
    plant: (w) => {
      const throttle = `/apiStages/${w.api.id}:prod/throttle/~1orders~1{id}/GET`
      return patchPlan(
        w,
        w.gold,
        patch('replace', `${throttle}/rateLimit`, '0'),
        patch('replace', `${throttle}/burstLimit`, '5'),
      )
    },
    symptom: ['GET /orders/{id}', 'with the key', 429],
    ...{
      check: 'plan-limits',
      where: (w) => [{ ...onPlan(w, 'gold'), ...at(w, 'GET /orders/{id}') }],
      mend: 'aws',
    },
  },
  'the rate of the stage is 0': {
    plant: (w) => patchStage(w, patch('replace', '/*/*/throttling/rateLimit', '0')),
    symptom: ['GET /hello', 'with the key', 429],
    ...{ check: 'stage-limits', where: (w) => [at(w)], mend: 'aws' },
  },
  'the burst of a method is 0 on two plans': {
    plant: async (w) => {
      const throttle = { '/hello/GET': { rateLimit: 5, burstLimit: 0 } }
      const path = `/apiStages/${w.api.id}:prod/throttle`
      for (const plan of [w.free, w.gold])
        await patchPlan(w, plan, patch('replace', path, JSON.stringify(throttle)))
    },
    symptom: ['GET /hello', 'with the key', 429],
    ...{ check: 'plan-limits', mend: 'aws' },
    where: (w) => (['free', 'gold'] as const).map((plan) => ({ ...onPlan(w, plan), ...at(w, 'GET /hello') })),
  },
  'the stage throttles a method to 0': {
    plant: (w) => patchStage(w, patch('replace', '/~1orders~1{id}/GET/throttling/burstLimit', '0')),
    symptom: ['GET /orders/{id}', 'with the key', 429],
    ...{ check: 'stage-limits', where: (w) => [at(w, 'GET /orders/{id}')], mend: 'aws' },
  },
  'the stage was deleted': {
    plant: ({ sdk, api }) => sdk.send(new DeleteStageCommand({ restApiId: api.id, stageName: 'prod' })),
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'stage', where: (w) => [at(w)], mend: 'aws' },
  },
  'a plan of the environment does not exist': {
    plant: async (w) => {
      w.env['USAGE_PLANS'] = `free=${w.free},gold=nosuch`
    },
    ...{ check: 'plan', where: () => [{ plan: 'gold', usagePlanId: 'nosuch' }], mend: 'operator' },
  },
  'the API is an HTTP API': {
    plant: async (w) => {
      w.target.api = 'h1h2h3h4h5'
      w.env['API_BASE_URL'] = w.stageUrl('h1h2h3h4h5', 'prod')
    },
    ...{ check: 'rest-api', where: () => [{ api: 'h1h2h3h4h5' }], mend: 'operator' },
  },
  'the API is private': {
    plant: ({ gateway, api }) => {
      gateway.account.restApis.get(api.id).endpointConfiguration.types = ['PRIVATE']
    },
    ...{ check: 'private-api', where: (w) => [{ api: w.api.id }], mend: 'operator' },
  },
  'the probe path is no method': {
    plant: (w) => {
      w.env['API_PROBE_PATH'] = '/status'
    },
    ...{ check: 'probe-path', where: () => [{ variable: 'API_PROBE_PATH' }], mend: 'operator' },
  },
  'an API of CloudFormation lacks a deployment': {
    plant: async (w) => {
      w.gateway.account.restApis.get(w.api.id).tags['aws:cloudformation:stack-name'] = 'my-api'
      await patchApi(w, patch('replace', '/apiKeySource', 'AUTHORIZER'))
      await deploy(w)
    },
    ...{ check: 'key-source', where: (w) => [at(w)], names: [], mend: 'tool' },
  },
  'no plan is configured, and the plans lost the stage as it was made again': {
    plant: async (w) => {
      delete w.env['USAGE_PLANS']
      await recreateStage(w)
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'plan-stage', where: (w) => [onPlan(w, 'free'), onPlan(w, 'gold')], mend: 'aws' },
  },
  'no plan is configured, and the API was deployed to a new stage': {
    plant: async (w) => {
      delete w.env['USAGE_PLANS']
      await deploy(w, 'v2')
      w.target.stage = 'v2'
      w.env['API_BASE_URL'] = w.stageUrl(w.api.id, 'v2')
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'plan-stage', where: (w) => [onPlan(w, 'free'), onPlan(w, 'gold')], mend: 'aws' },
  },
  'no plan is configured, and the key is on one that lost the stage': {
    plant: async (w) => {
      delete w.env['USAGE_PLANS']
      await patchPlan(w, w.gold, patch('remove', '/apiStages', `${w.api.id}:prod`))
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'key-plan', where: (w) => [{ keyId: w.key.id, ...at(w) }], mend: 'aws' },
  },
  'the key is on a plan that is not offered, and its rate is 0': {
    plant: async (w) => {
      w.env['USAGE_PLANS'] = `free=${w.free}`
      await patchPlan(w, w.gold, patch('replace', '/throttle/rateLimit', '0'))
    },
    symptom: ['GET /hello', 'with the key', 429],
    ...{ check: 'plan-limits', where: (w) => [onPlan(w, 'gold')], mend: 'aws' },
  },
  'the key has used up its quota': {
    plant: async (w) => {
      for (let i = 0; i < 10; i++) await answerTo(w, ['GET /hello', 'with the key', 200])
    },
    symptom: ['GET /hello', 'with the key', 429],
    ...{ check: 'key-quota', where: (w) => [{ keyId: w.key.id, ...onPlan(w, 'gold') }], mend: 'aws' },
  },
  'a plan is sold by AWS Marketplace': {
    plant: (w) => patchPlan(w, w.gold, patch('replace', '/productCode', 'abcdefghijklm')),
    ...{ check: 'plan-product-code', status: 'warning', where: (w) => [onPlan(w, 'gold')], mend: 'operator' },
  },
  'the account has no usage plans': {
    plant: async ({ gateway }) => {
      gateway.account.settings.features = []
    },
    ...{ check: 'account', where: () => [{}], mend: 'aws' },
  },
  'the custom domain leads to another stage': {
    plant: async (w) => {
      await deploy(w, 'other')
      await mapDomain(w, { restApiId: w.api.id, stage: 'other' })
    },
    ...{ check: 'domain-mapping', where: () => [{ variable: 'API_BASE_URL' }], mend: 'aws' },
  },
  'the key is disabled': {
    plant: ({ sdk, key }) => {
      const patchOperations = [patch('replace', '/enabled', 'false')]
      return sdk.send(new UpdateApiKeyCommand({ apiKey: key.id, patchOperations }))
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'key', where: (w) => [{ keyId: w.key.id }], mend: 'aws' },
  },
  'the key is on no plan': {
    plant: ({ sdk, key, gold }) =>
      sdk.send(new DeleteUsagePlanKeyCommand({ usagePlanId: gold, keyId: key.id })),
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'key-plan', where: (w) => [{ keyId: w.key.id }], mend: 'aws' },
  },
  'the key is on a plan of another API': {
    plant: async (w) => {
      const { sdk, key } = w
      await sdk.send(new DeleteUsagePlanKeyCommand({ usagePlanId: w.gold, keyId: key.id }))
      const other = await createTestApi(sdk, { 'GET /other': { apiKeyRequired: true } }, { name: 'other' })
      const apiStages = [{ apiId: other.id, stage: 'prod' }]
      const { id: usagePlanId } = await sdk.send(new CreateUsagePlanCommand({ name: 'other', apiStages }))
      await sdk.send(new CreateUsagePlanKeyCommand({ usagePlanId, keyId: key.id, keyType: 'API_KEY' }))
    },
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'key-plan', where: (w) => [{ keyId: w.key.id }], mend: 'aws' },
  },
  'the key does not exist': {
    plant: ({ sdk, key }) => sdk.send(new DeleteApiKeyCommand({ apiKey: key.id })),
    symptom: ['GET /hello', 'with the key', 403],
    ...{ check: 'key', where: () => [{}], mend: 'operator' },
  },
  'the quota of the key is used up': {
    plant: ({ sdk, gold, key }) => {
      const patchOperations = [patch('replace', '/remaining', '0')]
      return sdk.send(new UpdateUsageCommand({ usagePlanId: gold, keyId: key.id, patchOperations }))
    },
    symptom: ['GET /hello', 'with the key', 429],
    ...{ check: 'key-quota', where: (w) => [{ keyId: w.key.id, ...onPlan(w, 'gold') }], mend: 'aws' },
  },
}

const DENY_ALL = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Deny', Principal: '*', Action: 'execute-api:Invoke', Resource: 'execute-api:/*' }],
})

/** Returns what the data plane answers to a request of the table. */
function answerTo(world: World, [request, key]: readonly [string, string, number]): Promise<number> {
  const [verb = '', path = ''] = request.replace('{id}', '7').replace('{path+}', 'a/b').split(' ')
  const method = verb === 'ANY' ? 'GET' : verb
  return statusOf(world, world.target, path, key === 'with the key' ? world.key.value : undefined, method)
}

/** Lets doctor look at the API and the key; it only reads. */
async function lookAt({ gateway, env, target, asked }: World): Promise<Diagnosis> {
  const before = gateway.calls.length
  const diagnosis = await askDoctor(env, { ...target, key: asked })
  const calls = gateway.calls.slice(before)
  assert.ok(calls.length > 0)
  for (const { operation, method } of calls) assert.equal(method, 'GET', operation)
  return diagnosis
}

const notOk = ({ findings }: Diagnosis) => findings.filter(({ status }) => status !== 'ok')

const aws = startAwsCli()
after(() => aws?.stop())
const skip = aws === undefined ? 'aws is not installed (.ci/aws-cli does this)' : false

for (const [name, cause] of Object.entries(CAUSES)) {
  test(name, async (t) => {
    const world = await createWorld(t)
    await cause.plant(world)
    const { symptom, check, status = 'fault', names = [] } = cause
    if (symptom !== undefined) assert.equal(await answerTo(world, symptom), symptom[2], symptom.join(' '))

    const found = notOk(await lookAt(world))
    const places = cause.where(world)
    assert.deepEqual(
      found.map((one) => ({ check: one.check, status: one.status })),
      places.map(() => ({ check, status })),
    )
    for (const [i, place] of places.entries())
      assert.deepEqual(found[i]?.where, { ...found[i]?.where, ...place })
    for (const { message, why, mend } of found) {
      for (const named of names) assert.ok(message.includes(named), message)
      assert.ok(message !== '' && why !== undefined && why !== '')
      assert.equal(mend?.by, cause.mend)
      assert.equal(typeof mend?.command, cause.mend === 'aws' ? 'string' : typeof mend?.command)
    }

    await t.test('mended as it says', { skip: skip || cause.mend !== 'aws' }, async () => {
      for (const { mend } of found) await aws?.run(mend?.command ?? '', world.env)
      assert.deepEqual(notOk(await lookAt(world)), [])
      assert.equal(await answerTo(world, ['GET /hello', 'with the key', 200]), 200)
      assert.equal(await answerTo(world, ['GET /hello', 'without a key', 403]), 403)
    })
  })
}

test('the usage of a key that may not be read is not checked, with the permission that it wants', async (t) => {
  const world = await createWorld(t)
  world.gateway.policy = {
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: 'apigateway:GET', Resource: '*' },
      { Effect: 'Deny', Action: 'apigateway:GET', Resource: '*/usage' },
    ],
  }
  const [found, ...others] = notOk(await lookAt(world))
  assert.deepEqual(others, [])
  assert.deepEqual([found?.check, found?.status], ['key-quota', 'not_checked'])
  assert.equal(
    found?.action,
    `apigateway:GET on arn:aws:apigateway:eu-west-1::/usageplans/${world.gold}/usage`,
  )
})
