import { APIGatewayClient, type APIGatewayClientConfig } from '@aws-sdk/client-api-gateway'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import type { Pace, Urgency } from './pace.ts'

export interface ClientOptions {
  readonly region: string
  /** Another endpoint than the Region's own; `undefined`: none. */
  readonly endpoint: string | undefined
  /** How long one attempt of one call may take, in milliseconds. */
  readonly callTimeoutMs: number
}

type Handler = Pick<NodeHttpHandler, 'handle'>
type Request = Parameters<Handler['handle']>[0]

/** Seconds to wait after a 429 that names none. */
const DEFAULT_PAUSE_S = 1

/**
 * The SDK's client with bounded time: at most 3 attempts (standard retry mode), so that a call that
 * hangs leaves time within one registration to try again. Every attempt waits for its turn, and a refused one slows
 * all others down. Credentials come from the SDK's chain.
 */
export function createClient(
  { region, endpoint, callTimeoutMs }: ClientOptions,
  pace: Pace,
  urgency: Urgency,
): APIGatewayClient {
  const http = new NodeHttpHandler({
    connectionTimeout: 2_000,
    requestTimeout: callTimeoutMs,
    throwOnRequestTimeout: true,
  })
  const requestHandler: NonNullable<APIGatewayClientConfig['requestHandler']> = {
    metadata: http.metadata,
    handle: async (request: Request, options?: Parameters<Handler['handle']>[1]) => {
      await pace.turn(operationOf(request), urgency, options?.abortSignal as AbortSignal | undefined)
      const result = await http.handle(request, options)
      const { statusCode, headers } = result.response
      // The other 429, a full account, does not pass with time.
      if (statusCode === 429 && !headers['x-amzn-errortype']?.startsWith('LimitExceeded')) {
        pace.slowDown(Number(headers['retry-after']) || DEFAULT_PAUSE_S)
      }
      return result
    },
    destroy: () => http.destroy(),
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
  }
  return new APIGatewayClient({
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    maxAttempts: 3,
    retryMode: 'standard',
    requestHandler,
  })
}

/** The operations that have a quota of their own; any other is its method. */
function operationOf({ method, path, query }: Request): string {
  if (method === 'DELETE' && path.includes('/apikeys/')) return 'DeleteApiKey'
  return method === 'POST' && path.endsWith('/apikeys') && query['mode'] !== 'import'
    ? 'CreateApiKey'
    : method
}
