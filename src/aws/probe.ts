/** What the data plane says to a key: `unclear` where it says neither, as when it is throttled or cannot be reached. */
export type Verdict = 'taken' | 'refused' | 'unclear'

export interface ProbeAnswer {
  readonly verdict: Verdict
  /** The HTTP status; `undefined`: there was no answer. */
  readonly status: number | undefined
  /** The path is no method of the API, so that it refuses every key. */
  readonly isUnknownPath: boolean
  /** Why there was no answer. */
  readonly error?: unknown
}

/**
 * Asks a method with `apiKeyRequired` whether API Gateway's data plane lets a key through. It refuses with 403 one that it
 * does not know yet (developer guide). What a back end says behind it means that the key was taken, 404 too, but not 401 or
 * 403, which cannot be told from a refusal. A redirection is not followed, and says nothing: it may be of anybody in between.
 * @param apiKey `undefined`: without any
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
  if (status === 401 || status === 403) return 'refused'
  return (status >= 300 && status < 400) || status === 429 || status >= 500 ? 'unclear' : 'taken'
}
