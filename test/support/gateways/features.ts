import {
  type APIGatewayClient,
  CreateApiKeyCommand,
  CreateBasePathMappingCommand,
  CreateDomainNameCommand,
  CreateStageCommand,
  CreateUsagePlanCommand,
  CreateUsagePlanKeyCommand,
  DeleteStageCommand,
  DeleteUsagePlanCommand,
  GetApiKeyCommand,
  GetApiKeysCommand,
  GetBasePathMappingsCommand,
  GetDeploymentCommand,
  GetExportCommand,
  GetMethodCommand,
  GetStageCommand,
  GetUsageCommand,
  GetUsagePlanCommand,
  GetUsagePlansCommand,
  ImportApiKeysCommand,
  type PatchOperation,
  UpdateApiKeyCommand,
  UpdateBasePathMappingCommand,
  UpdateMethodCommand,
  UpdateRestApiCommand,
  UpdateUsagePlanCommand,
} from '@aws-sdk/client-api-gateway'
import { CERTIFICATE, createTestApi, putTestMethod, type TestApi } from '../rest-api.ts'
import { statusOf, type TestedGateway } from './tested-gateway.ts'

/** Something that API Gateway does, and that an emulator of it may not do. */
export type Feature = keyof typeof features

type Probe = (gateway: TestedGateway) => Promise<boolean>

/** For each feature: finds out whether a gateway has it. */
export const features = {
  'UpdateUsagePlan adds a stage': async ({ sdk }) => {
    const { id: apiId } = await helloApi(sdk)
    const { id: usagePlanId } = await sdk.send(new CreateUsagePlanCommand({ name: 'bare' }))
    const patchOperations: PatchOperation[] = [{ op: 'add', path: '/apiStages', value: `${apiId}:prod` }]
    await sdk.send(new UpdateUsagePlanCommand({ usagePlanId, patchOperations }))
    const { apiStages } = await sdk.send(new GetUsagePlanCommand({ usagePlanId }))
    return Array.isArray(apiStages) && apiStages[0]?.stage === 'prod'
  },
  'UpdateUsagePlan changes a rate': async ({ sdk }) => {
    const plan = { name: 'slow', throttle: { rateLimit: 1, burstLimit: 1 } }
    const { id: usagePlanId } = await sdk.send(new CreateUsagePlanCommand(plan))
    const patchOperations = [replace('/throttle/rateLimit', '5')]
    await sdk.send(new UpdateUsagePlanCommand({ usagePlanId, patchOperations }))
    return (await sdk.send(new GetUsagePlanCommand({ usagePlanId }))).throttle?.rateLimit === 5
  },
  'UpdateMethod changes apiKeyRequired': async ({ sdk }) => {
    const method = hello(await helloApi(sdk))
    const patchOperations = [replace('/apiKeyRequired', 'false')]
    await sdk.send(new UpdateMethodCommand({ ...method, patchOperations }))
    return (await sdk.send(new GetMethodCommand(method))).apiKeyRequired === false
  },
  'UpdateApiKey disables a key': async ({ sdk }) => {
    const { id: apiKey } = await sdk.send(new CreateApiKeyCommand({ name: 'k', enabled: true }))
    await sdk.send(new UpdateApiKeyCommand({ apiKey, patchOperations: [replace('/enabled', 'false')] }))
    return (await sdk.send(new GetApiKeyCommand({ apiKey }))).enabled === false
  },
  'the data plane obeys the deployed methods': async (gateway) => {
    const api = await helloApi(gateway.sdk)
    await putTestMethod(gateway.sdk, api, 'POST /hello', { apiKeyRequired: false })
    return (await statusOf(gateway, { api: api.id, stage: 'prod' }, '/hello', undefined, 'POST')) === 403
  },
  'the data plane wants the key from the authorizer': async (gateway) => {
    const api = await helloApi(gateway.sdk, { apiKeySource: 'AUTHORIZER' })
    const value = await keyOf(gateway.sdk, api)
    return (await statusOf(gateway, { api: api.id, stage: 'prod' }, '/hello', value)) === 403
  },
  'GetExport shows the deployed methods': async ({ sdk }) => {
    const api = await helloApi(sdk)
    await putTestMethod(sdk, api, 'POST /hello', { apiKeyRequired: false })
    return !(await exported(sdk, api)).includes('"post"')
  },
  'GetExport shows the deployed apiKeySource': async ({ sdk }) => {
    const api = await helloApi(sdk, { apiKeySource: 'AUTHORIZER' })
    const patchOperations = [replace('/apiKeySource', 'HEADER')]
    await sdk.send(new UpdateRestApiCommand({ restApiId: api.id, patchOperations }))
    return /"x-amazon-apigateway-api-key-source"\s*:\s*"AUTHORIZER"/.test(await exported(sdk, api))
  },
  'the summary of a deployment has the authorizationType': async ({ sdk }) => {
    const { id: restApiId } = await helloApi(sdk)
    const { deploymentId } = await sdk.send(new GetStageCommand({ restApiId, stageName: 'prod' }))
    const embed = ['apisummary']
    const { apiSummary } = await sdk.send(new GetDeploymentCommand({ restApiId, deploymentId, embed }))
    return apiSummary?.['/hello']?.['GET']?.authorizationType === 'NONE'
  },
  'a plan loses a stage that is deleted': async ({ sdk }) => {
    const { id: apiId } = await helloApi(sdk)
    const plan = { name: 'free', apiStages: [{ apiId, stage: 'prod' }] }
    const { id: usagePlanId } = await sdk.send(new CreateUsagePlanCommand(plan))
    await sdk.send(new DeleteStageCommand({ restApiId: apiId, stageName: 'prod' }))
    return (await sdk.send(new GetUsagePlanCommand({ usagePlanId }))).apiStages?.length === 0
  },
  'CreateStage rejects a stage that exists': async ({ sdk }) => {
    const { id: restApiId } = await helloApi(sdk)
    const { deploymentId } = await sdk.send(new GetStageCommand({ restApiId, stageName: 'prod' }))
    return rejects(sdk.send(new CreateStageCommand({ restApiId, stageName: 'prod', deploymentId })))
  },
  'CreateUsagePlan rejects a stage that does not exist': ({ sdk }) => {
    const apiStages = [{ apiId: 'aaaaaaaaaa', stage: 'prod' }]
    return rejects(sdk.send(new CreateUsagePlanCommand({ name: 'odd', apiStages })))
  },
  'DeleteUsagePlan rejects a plan with stages': async ({ sdk }) => {
    const { id: apiId } = await helloApi(sdk)
    const plan = { name: 'full', apiStages: [{ apiId, stage: 'prod' }] }
    const { id: usagePlanId } = await sdk.send(new CreateUsagePlanCommand(plan))
    return rejects(sdk.send(new DeleteUsagePlanCommand({ usagePlanId })))
  },
  UpdateBasePathMapping: async ({ sdk }) => {
    const { id: restApiId } = await helloApi(sdk, { stages: ['prod', 'other'] })
    const domainName = `${restApiId}.example.com`
    await sdk.send(
      new CreateDomainNameCommand({
        domainName,
        regionalCertificateArn: CERTIFICATE,
        endpointConfiguration: { types: ['REGIONAL'] },
      }),
    )
    await sdk.send(
      new CreateBasePathMappingCommand({ domainName, basePath: 'v1', restApiId, stage: 'other' }),
    )
    const patchOperations = [replace('/stage', 'prod')]
    const change = new UpdateBasePathMappingCommand({ domainName, basePath: 'v1', patchOperations })
    if (await rejects(sdk.send(change))) return false
    const { items } = await sdk.send(new GetBasePathMappingsCommand({ domainName }))
    return items?.[0]?.stage === 'prod'
  },
  GetUsage: async ({ sdk }) => {
    const quota = { limit: 7, period: 'DAY' as const }
    const { id: usagePlanId } = await sdk.send(new CreateUsagePlanCommand({ name: 'used', quota }))
    const today = new Date().toISOString().slice(0, 10)
    const range = { startDate: today, endDate: today }
    return (await sdk.send(new GetUsageCommand({ usagePlanId, ...range }))).startDate === today
  },
  ImportApiKeys: async ({ sdk }) => {
    const value = 'I'.repeat(30)
    const body = new TextEncoder().encode(`Name,Key\nimported,${value}\n`)
    await sdk.send(new ImportApiKeysCommand({ format: 'csv', body }))
    const { items = [] } = await sdk.send(new GetApiKeysCommand({ includeValues: true, limit: 500 }))
    return items.some((key) => key.value === value && key.name === 'imported')
  },
  'GetApiKeys keeps the values to itself': async ({ sdk }) => {
    await sdk.send(new CreateApiKeyCommand({ name: 'secret' }))
    const { items = [] } = await sdk.send(new GetApiKeysCommand({ nameQuery: 'secret' }))
    return items[0]?.value === undefined
  },
  'GetUsagePlans lists the plans of a key alone': async ({ sdk }) => {
    await sdk.send(new CreateUsagePlanCommand({ name: 'of others' }))
    const { id: keyId } = await sdk.send(new CreateApiKeyCommand({ name: 'k' }))
    return (await sdk.send(new GetUsagePlansCommand({ keyId }))).items?.length === 0
  },
  'CreateUsagePlanKey rejects a second plan of the stage': async ({ sdk }) => {
    const { id: apiId } = await helloApi(sdk)
    const { id: keyId } = await sdk.send(new CreateApiKeyCommand({ name: 'k', enabled: true }))
    const apiStages = [{ apiId, stage: 'prod' }]
    const attach = async (name: string) => {
      const { id: usagePlanId } = await sdk.send(new CreateUsagePlanCommand({ name, apiStages }))
      return sdk.send(new CreateUsagePlanKeyCommand({ usagePlanId, keyId, keyType: 'API_KEY' }))
    }
    await attach('first')
    return rejects(attach('second'))
  },
} satisfies Record<string, Probe>

/** An API with `GET /hello`, which needs a key, deployed to `prod`. */
const helloApi = (sdk: APIGatewayClient, settings: Parameters<typeof createTestApi>[2] = {}) =>
  createTestApi(sdk, { 'GET /hello': { apiKeyRequired: true } }, settings)

const hello = ({ id, resources }: TestApi) => ({
  ...{ restApiId: id, resourceId: resources.get('/hello'), httpMethod: 'GET' },
})

/** Creates an enabled key on a plan of the API's stage, and returns its value. */
async function keyOf(sdk: APIGatewayClient, { id: apiId }: TestApi): Promise<string | undefined> {
  const plan = { name: 'gold', apiStages: [{ apiId, stage: 'prod' }] }
  const { id: usagePlanId } = await sdk.send(new CreateUsagePlanCommand(plan))
  const { id: keyId, value } = await sdk.send(new CreateApiKeyCommand({ name: 'k', enabled: true }))
  await sdk.send(new CreateUsagePlanKeyCommand({ usagePlanId, keyId, keyType: 'API_KEY' }))
  return value
}

async function exported(sdk: APIGatewayClient, { id: restApiId }: TestApi): Promise<string> {
  const order = { exportType: 'oas30', parameters: { extensions: 'apigateway' }, accepts: 'application/json' }
  const { body } = await sdk.send(new GetExportCommand({ restApiId, stageName: 'prod', ...order }))
  return new TextDecoder().decode(body)
}

function replace(path: string, value: string): PatchOperation {
  return { op: 'replace', path, value }
}

const rejects = (call: Promise<unknown>): Promise<boolean> =>
  call.then(
    () => false,
    () => true,
  )
