import {
  type APIGatewayClient,
  CreateDeploymentCommand,
  CreateResourceCommand,
  CreateRestApiCommand,
  GetResourcesCommand,
  PutIntegrationCommand,
  PutIntegrationResponseCommand,
  PutMethodCommand,
  PutMethodResponseCommand,
} from '@aws-sdk/client-api-gateway'

/** The certificate of the custom domains of tests. */
export const CERTIFICATE =
  'arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555'

/** A method that a test's API has: `GET /orders/{id}`, with a mock integration. */
export interface TestMethod {
  readonly apiKeyRequired: boolean
  readonly authorizationType?: string
}

export interface TestApi {
  readonly id: string
  /** The ids of its resources, by path. */
  readonly resources: ReadonlyMap<string, string>
}

/**
 * Creates a REST API as its owner would, and deploys it to the stages.
 * @param methods by verb and path: `{'GET /hello': { apiKeyRequired: true }}`
 */
export async function createTestApi(
  sdk: APIGatewayClient,
  methods: Readonly<Record<string, TestMethod>>,
  { name = 'test', stages = ['prod'], ...settings }: TestApiSettings = {},
): Promise<TestApi> {
  const { id: restApiId = '' } = await sdk.send(new CreateRestApiCommand({ name, ...settings }))
  const { items = [] } = await sdk.send(new GetResourcesCommand({ restApiId }))
  const resources = new Map(items.map(({ path = '', id = '' }) => [path, id]))
  const api = { id: restApiId, resources }
  for (const [method, settings] of Object.entries(methods)) await putTestMethod(sdk, api, method, settings)
  for (const stageName of stages) await sdk.send(new CreateDeploymentCommand({ restApiId, stageName }))
  return api
}

export interface TestApiSettings {
  readonly name?: string
  readonly stages?: readonly string[]
  readonly tags?: Record<string, string>
  readonly apiKeySource?: 'HEADER' | 'AUTHORIZER'
}

/** Adds a method, and the resources on the way to it, which nobody can call before the next deployment. */
export async function putTestMethod(
  sdk: APIGatewayClient,
  api: TestApi,
  method: string,
  { apiKeyRequired, authorizationType = 'NONE' }: TestMethod,
): Promise<void> {
  const [httpMethod = '', path = ''] = method.split(' ')
  const at = { restApiId: api.id, resourceId: await resourceAt(sdk, api, path), httpMethod }
  await sdk.send(new PutMethodCommand({ ...at, authorizationType, apiKeyRequired }))
  const json = 'application/json'
  await sdk.send(
    new PutIntegrationCommand({ ...at, type: 'MOCK', requestTemplates: { [json]: '{"statusCode": 200}' } }),
  )
  await sdk.send(new PutMethodResponseCommand({ ...at, statusCode: '200' }))
  await sdk.send(
    new PutIntegrationResponseCommand({
      ...{ ...at, statusCode: '200', responseTemplates: { [json]: '{"message": "Hello"}' } },
    }),
  )
}

/** Returns the id of the resource at a path, which is created if it is not there. */
async function resourceAt(sdk: APIGatewayClient, api: TestApi, path: string): Promise<string> {
  const known = api.resources.get(path)
  if (known !== undefined) return known
  const end = path.lastIndexOf('/')
  const parentId = await resourceAt(sdk, api, path.slice(0, end) || '/')
  const { id = '' } = await sdk.send(
    new CreateResourceCommand({ restApiId: api.id, parentId, pathPart: path.slice(end + 1) }),
  )
  ;(api.resources as Map<string, string>).set(path, id)
  return id
}
