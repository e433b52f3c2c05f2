import { APIGatewayClient } from '@aws-sdk/client-api-gateway'
import { NodeHttpHandler } from '@smithy/node-http-handler'

export interface ClientOptions {
  readonly region: string
  /** Another endpoint than the Region's own; `undefined`: none. */
  readonly endpoint: string | undefined
  /** How long one attempt of one call may take, in milliseconds. */
  readonly callTimeoutMs: number
}

/**
 * The SDK's client with bounded time: at most 3 attempts (standard retry mode), so that a call that
 * hangs leaves time within one registration to try again. Credentials come from the SDK's chain.
 */
export function createClient({ region, endpoint, callTimeoutMs }: ClientOptions): APIGatewayClient {
  return new APIGatewayClient({
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    maxAttempts: 3,
    retryMode: 'standard',
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 2_000,
      requestTimeout: callTimeoutMs,
      throwOnRequestTimeout: true,
    }),
  })
}
