import { APIGatewayClient, LimitExceededException } from '@aws-sdk/client-api-gateway'
import type { DateObserver } from '../clock-check.ts'
import type { ProxyVariables } from '../egress-proxy.ts'
import { renewCredentials } from './credentials.ts'
import { createHttpHandler, type HttpHandler } from './http-handler.ts'
import type { Pace, Priority } from './pace.ts'

export interface ClientOptions {
  readonly region: string
  /** An endpoint other than that of the Region; `undefined` for that of the Region. */
  readonly endpoint: string | undefined
  /** The time limit for one attempt of one call, its response included, in milliseconds. */
  readonly callTimeoutMs: number
  readonly observeDate: DateObserver
  /** Left out: none. */
  readonly proxies?: ProxyVariables
}

/** The time limit for the TCP connection of an attempt, in milliseconds. */
const CONNECT_MS = 2_000
/** Seconds to wait after a 429 without Retry-After. */
const DEFAULT_PAUSE_S = 1

/**
 * Creates the SDK's client with time limits: at most 3 attempts (standard retry mode), so that after a call that hangs
 * there is time within the registration for a retry. Every attempt waits for its turn, and a throttled attempt slows
 * down all others. The credentials come from the SDK's default chain; see {@link renewCredentials}.
 */
export function createClient(
  { region, endpoint, callTimeoutMs, observeDate, proxies }: ClientOptions,
  pace: Pace,
  priority: Priority,
): APIGatewayClient {
  const http = createHttpHandler({ connectMs: CONNECT_MS, attemptMs: callTimeoutMs, observeDate, proxies })
  const requestHandler: HttpHandler = {
    ...http,
    async handle(request, options) {
      await pace.turn(operationOf(request), priority, options?.abortSignal as AbortSignal | undefined)
      const result = await http.handle(request, options)
      const { statusCode, headers } = result.response
      // The other 429, a used-up key quota, does not pass with time.
      if (statusCode === 429 && !headers['x-amzn-errortype']?.startsWith('LimitExceeded')) {
        pace.slowDown(Number(headers['retry-after']) || DEFAULT_PAUSE_S)
      }
      return result
    },
  }
  const client = new APIGatewayClient({
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    maxAttempts: 3,
    retryMode: 'standard',
    requestHandler,
  })
  const { retryStrategy } = client.config
  client.config.retryStrategy = async () => unlessFull(await retryStrategy())
  renewCredentials(client)
  return client
}

type RetryStrategy = Awaited<ReturnType<APIGatewayClient['config']['retryStrategy']>>

/** A full account is no throttling, although the SDK takes it for one: a retry would only cost two more calls. */
function unlessFull(strategy: RetryStrategy): RetryStrategy {
  if (!('refreshRetryTokenForRetry' in strategy)) return strategy
  return {
    acquireInitialRetryToken: (scope) => strategy.acquireInitialRetryToken(scope),
    async refreshRetryTokenForRetry(token, failure) {
      if (failure.error instanceof LimitExceededException) throw failure.error
      return strategy.refreshRetryTokenForRetry(token, failure)
    },
    recordSuccess: (token) => strategy.recordSuccess(token),
  }
}

/** Returns the name of an operation that has a quota of its own; for any other, the HTTP method. */
function operationOf({ method, path, query }: Parameters<HttpHandler['handle']>[0]): string {
  if (method === 'DELETE' && path.includes('/apikeys/')) return 'DeleteApiKey'
  return method === 'POST' && path.endsWith('/apikeys') && query['mode'] !== 'import'
    ? 'CreateApiKey'
    : method
}
