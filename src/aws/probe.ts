import http from 'node:http'
import https from 'node:https'
import { createRoutes, type ProxyVariables, throughProxy } from '../egress-proxy.ts'

/**
 * The data plane's verdict on a key: `accepted` if it accepts the key, `rejected` if it rejects the key, `unclear` if the
 * response proves neither or there is none, for example when the API is throttled or cannot be reached.
 */
export type Verdict = 'accepted' | 'rejected' | 'unclear'

export interface ProbeAnswer {
  readonly verdict: Verdict
  /** The HTTP status; `undefined` if there was no response. */
  readonly status: number | undefined
  /** `true` if the path is no method of the API, so that it rejects every key. */
  readonly isUnknownPath: boolean
  /** The reason if there was no response. */
  readonly error?: unknown
}

/**
 * Creates the probe of a method with `apiKeyRequired`: whether API Gateway's data plane accepts a key. The data plane rejects a
 * key that it does not know yet with 403 (developer guide). A response of the back end, even a 404, proves that the key
 * was accepted. A 401 or 403 does not, because it looks the same as a rejection. A redirect is not followed and proves
 * nothing: a proxy in between may have sent it.
 * @returns a function that never throws. Its `apiKey` is the key to send; `undefined` to send none
 */
export function createProbe(
  url: string,
  proxies: ProxyVariables,
): (apiKey: string | undefined, signal: AbortSignal) => Promise<ProbeAnswer> {
  const target = new URL(url)
  const { protocol, hostname, port } = target
  const route = createRoutes(proxies)({ protocol, hostname, port: Number(port) || undefined })
  const { request } = protocol === 'https:' ? https : http
  const agent = protocol === 'https:' ? route.httpsAgent : route.httpAgent
  return async (apiKey, signal) => {
    try {
      const headers = { 'user-agent': 'firstkey', ...(apiKey === undefined ? {} : { 'x-api-key': apiKey }) }
      const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
        request(target, { agent, headers, signal }).once('response', resolve).on('error', reject).end()
      })
      // The body may have no end.
      answer.destroy()
      const status = answer.statusCode ?? 0
      const isUnknownPath = answer.headers['x-amzn-errortype'] === 'MissingAuthenticationTokenException'
      return { verdict: verdictOf(status), status, isUnknownPath }
    } catch (error) {
      const reason = throughProxy(error, route)
      return { verdict: 'unclear', status: undefined, isUnknownPath: false, error: reason }
    }
  }
}

function verdictOf(status: number): Verdict {
  if (status === 401 || status === 403) return 'rejected'
  return (status >= 300 && status < 400) || status === 429 || status >= 500 ? 'unclear' : 'accepted'
}
