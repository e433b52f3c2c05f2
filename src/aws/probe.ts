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
 * Probes a method with `apiKeyRequired` to see whether API Gateway's data plane accepts a key. The data plane rejects a
 * key that it does not know yet with 403 (developer guide). A response of the back end, even a 404, proves that the key
 * was accepted. A 401 or 403 does not, because it looks the same as a rejection. A redirect is not followed and proves
 * nothing: a proxy in between may have sent it. Never throws.
 * @param apiKey the key to send; `undefined` to send none
 */
export async function probe(
  url: string,
  apiKey: string | undefined,
  signal: AbortSignal,
): Promise<ProbeAnswer> {
  try {
    const headers = { 'user-agent': 'firstkey', ...(apiKey === undefined ? {} : { 'x-api-key': apiKey }) }
    const answer = await fetch(url, { headers, redirect: 'manual', signal })
    await answer.body?.cancel()
    return {
      verdict: verdictOf(answer.status),
      status: answer.status,
      isUnknownPath: answer.headers.get('x-amzn-errortype') === 'MissingAuthenticationTokenException',
    }
  } catch (error) {
    return { verdict: 'unclear', status: undefined, isUnknownPath: false, error }
  }
}

function verdictOf(status: number): Verdict {
  if (status === 401 || status === 403) return 'rejected'
  return (status >= 300 && status < 400) || status === 429 || status >= 500 ? 'unclear' : 'accepted'
}
