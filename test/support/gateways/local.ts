import type { TestContext } from 'node:test'
import { APIGatewayClient } from '@aws-sdk/client-api-gateway'
import { type Gateway, startGateway } from '../../../emulator/gateway.ts'
import { defaultGatewayOptions, type GatewayOptions } from '../../../emulator/options.ts'
import type { TestedGateway } from './tested-gateway.ts'

/** Starts the emulator with an empty account; it stops at the end of the test. */
export async function startEmptyGateway(
  t: TestContext,
  options: Partial<GatewayOptions> = {},
): Promise<TestedGateway & { readonly gateway: Gateway }> {
  const gateway = await startGateway({ plans: [], restApis: [], ...options })
  const { region, accessKeyId, secretAccessKey } = defaultGatewayOptions
  const credentials = { accessKeyId, secretAccessKey }
  const sdk = new APIGatewayClient({ region, endpoint: gateway.url, credentials, maxAttempts: 1 })
  t.after(async () => {
    sdk.destroy()
    await gateway.close()
  })
  return {
    name: 'the local gateway',
    gateway,
    env: {
      AWS_REGION: region,
      AWS_ENDPOINT_URL_API_GATEWAY: gateway.url,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    },
    sdk,
    stageUrl: (api, stage) => `${gateway.url}/execute-api/${api}/${stage}`,
    lacks: [],
  }
}
