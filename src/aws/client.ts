import { APIGatewayClient, LimitExceededException } from '@aws-sdk/client-api-gateway'
import type { DateObserver } from '../clock-check.ts'
import type { ProxyVariables } from '../egress-proxy.ts'
import type { MeteredCall } from '../meter.ts'
import { renewCredentials } from './credentials.ts'
import { createHttpHandler, type HttpHandler } from './http-handler.ts'
import type { Pace, Priority } from './pace.ts'

/** One attempt of a call that was sent. */
export interface AwsCall extends MeteredCall {
  /** The header `Retry-After` of the response. */
  readonly retryAfter: string | null
}

export interface ClientOptions {
  readonly region: string
  /** An endpoint other than that of the Region; `undefined` for that of the Region. */
  readonly endpoint: string | undefined
  /** The time limit for one attempt of one call, its response included, in milliseconds. */
  readonly callTimeoutMs: number
  readonly observeDate: DateObserver
  /** Left out: none. */
  readonly proxies?: ProxyVariables
  /** Called when an attempt has ended, whether it succeeded or not. */
  readonly onCall?: ((call: AwsCall) => void) | undefined
}

/** The time limit for the TCP connection of an attempt, in milliseconds. */
const CONNECT_MS = 2_000
/** The attempts of one call. */
const MAX_ATTEMPTS = 3
/** Seconds to wait after a 429 without Retry-After. */
const DEFAULT_PAUSE_S = 1

/**
 * Creates the SDK's client with time limits: at most {@link MAX_ATTEMPTS} attempts (standard retry mode), so that after a call that hangs
 * there is time within the registration for a retry. Every attempt waits for its turn, and a throttled attempt slows
 * down all others. The credentials come from the SDK's default chain; see {@link renewCredentials}.
 */
export function createClient(
  { region, endpoint, callTimeoutMs, observeDate, proxies, onCall }: ClientOptions,
  pace: Pace,
  priority: Priority,
  maxAttempts = MAX_ATTEMPTS,
): APIGatewayClient {
  const client = new APIGatewayClient({
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    maxAttempts,
    retryMode: 'standard',
    requestHandler: createHttpHandler({
      connectMs: CONNECT_MS,
      attemptMs: callTimeoutMs,
      observeDate,
      proxies,
    }),
  })
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const operation = context.commandName?.replace(/Command$/, '') ?? 'unknown'
      const askedAt = performance.now()
      await pace.turn(operation, priority, context.__smithy_context?.abortSignal as AbortSignal | undefined)
      const sentAt = performance.now()
      let response: Partial<HttpResponse> | undefined
      try {
        const result = await next(args)
        response = result.response as HttpResponse
        return result
      } finally {
        const { statusCode: status = null, headers = {} } = response ?? {}
        const retryAfter = headers['retry-after'] ?? null
        // The other 429, a used-up key quota, does not pass with time.
        if (status === 429 && !headers['x-amzn-errortype']?.startsWith('LimitExceeded')) {
          pace.slowDown(Number(retryAfter) || DEFAULT_PAUSE_S)
        }
        onCall?.({
          ...{ operation, status, retryAfter },
          ms: performance.now() - sentAt,
          waitedMs: sentAt - askedAt,
        })
      }
    },
    // For each attempt, next to the socket: the response is not parsed yet.
    { name: 'pace', step: 'deserialize', priority: 'low' },
  )
  const { retryStrategy } = client.config
  client.config.retryStrategy = async () => unlessFull(await retryStrategy())
  renewCredentials(client)
  return client
}

type HttpResponse = Awaited<ReturnType<HttpHandler['handle']>>['response']
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
