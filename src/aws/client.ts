import { APIGatewayClient, type APIGatewayClientConfig } from '@aws-sdk/client-api-gateway'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import type { DateObserver } from '../clock-check.ts'
import type { Pace, Priority } from './pace.ts'

export interface ClientOptions {
  readonly region: string
  /** An endpoint other than that of the Region; `undefined` for that of the Region. */
  readonly endpoint: string | undefined
  /** The time limit for one attempt of one call, in milliseconds. */
  readonly callTimeoutMs: number
  readonly observeDate: DateObserver
}

type Handler = Pick<NodeHttpHandler, 'handle'>
type Request = Parameters<Handler['handle']>[0]

/** Seconds to wait after a 429 without Retry-After. */
const DEFAULT_PAUSE_S = 1

/**
 * Creates the SDK's client with time limits: at most 3 attempts (standard retry mode), so that after a call that hangs
 * there is time within the registration for a retry. Every attempt waits for its turn, and a throttled attempt slows
 * down all others. The credentials come from the SDK's default chain.
 */
export function createClient(
  { region, endpoint, callTimeoutMs, observeDate }: ClientOptions,
  pace: Pace,
  priority: Priority,
): APIGatewayClient {
  const http = new NodeHttpHandler({
    connectionTimeout: 2_000,
    requestTimeout: callTimeoutMs,
    throwOnRequestTimeout: true,
  })
  const requestHandler: NonNullable<APIGatewayClientConfig['requestHandler']> = {
    metadata: http.metadata,
    handle: async (request: Request, options?: Parameters<Handler['handle']>[1]) => {
      await pace.turn(operationOf(request), priority, options?.abortSignal as AbortSignal | undefined)
      const sentAt = performance.now()
      const result = await http.handle(request, options)
      const { statusCode, headers } = result.response
      observeDate(headers['date'], sentAt)
      // The other 429, a used-up key quota, does not pass with time.
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

/** Returns the name of an operation that has a quota of its own; for any other, the HTTP method. */
function operationOf({ method, path, query }: Request): string {
  if (method === 'DELETE' && path.includes('/apikeys/')) return 'DeleteApiKey'
  return method === 'POST' && path.endsWith('/apikeys') && query['mode'] !== 'import'
    ? 'CreateApiKey'
    : method
}
