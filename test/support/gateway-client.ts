import type { TestContext } from 'node:test'
import {
  APIGatewayClient,
  CreateApiKeyCommand,
  CreateDeploymentCommand,
  CreateResourceCommand,
  CreateRestApiCommand,
  type CreateRestApiCommandInput,
  CreateUsagePlanKeyCommand,
  PutIntegrationCommand,
  PutIntegrationResponseCommand,
  PutMethodCommand,
  PutMethodResponseCommand,
} from '@aws-sdk/client-api-gateway'
import { ApiGatewayV2Client } from '@aws-sdk/client-apigatewayv2'
import { type Gateway, startGateway } from '../../emulator/gateway.ts'
import { defaultGatewayOptions, type GatewayOptions } from '../../emulator/options.ts'

export interface GatewayClient {
  readonly gateway: Gateway
  readonly sdk: APIGatewayClient
  /** Requests a path of the data plane, below `/execute-api/`; that of the demo API by default. */
  call(key: string | undefined, path?: string, init?: RequestInit): Promise<Response>
}

/** Starts a local gateway with a client of the SDK that does not retry. Both end with the test. */
export async function gatewayClient(
  t: TestContext,
  options: Partial<GatewayOptions> = {},
  client: object = {},
): Promise<GatewayClient> {
  const gateway = await startGateway(options)
  const { accessKeyId, secretAccessKey, region } = defaultGatewayOptions
  const credentials = { accessKeyId, secretAccessKey }
  const sdk = new APIGatewayClient({ endpoint: gateway.url, region, credentials, maxAttempts: 1, ...client })
  t.after(async () => {
    sdk.destroy()
    await gateway.close()
  })
  return {
    gateway,
    sdk,
    call: (key, path = 'demo/prod/hello', init = {}) =>
      fetch(`${gateway.url}/execute-api/${path}`, {
        ...init,
        headers: { ...init.headers, ...(key === undefined ? {} : { 'x-api-key': key }) },
      }),
  }
}

/** Creates a client for the second API of a gateway, that of HTTP APIs. It ends with the test. */
export function secondApiClient(t: TestContext, { url: endpoint }: Gateway): ApiGatewayV2Client {
  const { region, accessKeyId, secretAccessKey } = defaultGatewayOptions
  const client = new ApiGatewayV2Client({ endpoint, region, credentials: { accessKeyId, secretAccessKey } })
  t.after(() => client.destroy())
  return client
}

/** Creates an enabled key on a usage plan. @returns its id */
export async function attachedKey(
  sdk: APIGatewayClient,
  value: string,
  usagePlanId = 'demofree',
): Promise<string> {
  const { id: keyId = '' } = await sdk.send(new CreateApiKeyCommand({ name: 'n', value, enabled: true }))
  await sdk.send(new CreateUsagePlanKeyCommand({ usagePlanId, keyId, keyType: 'API_KEY' }))
  return keyId
}

/** A REST API with `GET /hello`, which a mock integration answers. */
export interface MockApi {
  readonly restApiId: string
  readonly rootResourceId: string
  readonly resourceId: string
}

/** Creates a REST API with `GET /hello`, deployed to the stage `prod`. */
export async function createMockApi(
  sdk: APIGatewayClient,
  { apiKeyRequired = true, ...input }: Partial<CreateRestApiCommandInput> & { apiKeyRequired?: boolean } = {},
): Promise<MockApi> {
  const { id: restApiId = '', rootResourceId = '' } = await sdk.send(
    new CreateRestApiCommand({ name: 'mock', endpointConfiguration: { types: ['REGIONAL'] }, ...input }),
  )
  const { id: resourceId = '' } = await sdk.send(
    new CreateResourceCommand({ restApiId, parentId: rootResourceId, pathPart: 'hello' }),
  )
  await putMockMethod(sdk, restApiId, resourceId, 'GET', apiKeyRequired)
  await sdk.send(new CreateDeploymentCommand({ restApiId, stageName: 'prod' }))
  return { restApiId, rootResourceId, resourceId }
}

/** Creates a method that a mock integration answers with `{"message": "Hello"}`. */
export async function putMockMethod(
  sdk: APIGatewayClient,
  restApiId: string,
  resourceId: string,
  httpMethod: string,
  apiKeyRequired: boolean,
): Promise<void> {
  const method = { restApiId, resourceId, httpMethod }
  const status = { ...method, statusCode: '200' }
  await sdk.send(new PutMethodCommand({ ...method, authorizationType: 'NONE', apiKeyRequired }))
  await sdk.send(new PutMethodResponseCommand(status))
  await sdk.send(
    new PutIntegrationCommand({
      ...method,
      type: 'MOCK',
      requestTemplates: { 'application/json': '{"statusCode": 200}' },
    }),
  )
  await sdk.send(
    new PutIntegrationResponseCommand({
      ...status,
      responseTemplates: { 'application/json': '{"message": "Hello"}' },
    }),
  )
}
