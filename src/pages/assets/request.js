// The requests of the pages. They are retried until the outcome is final; a new key is requested with the same
// Idempotency-Key each time, so that a lost response costs no second key.

/** Attempts before the user is asked to retry, and the longest pause (s) that is waited without asking. */
const MOST_TRIES = 6
const LONGEST_PAUSE_S = 30
const USUAL_PAUSE_S = 2
const TIMEOUT_MS = 35_000

/** The Idempotency-Key of each request whose outcome is not known yet, by the request as JSON. */
const keys = new Map()

/** Returns a random key. `crypto.randomUUID` is not available on a page that was loaded without HTTPS. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1_000))

/**
 * Requests a new key: a registration or a rotation.
 * @param say receives progress messages for the user
 * @returns `{ credential }` or `{ problem }`. A problem that is not final comes with `retryAfter` (s) and `mayExist`: `true`
 *   if a key may have been created although its response was lost
 */
export async function mint(url, token, body, say) {
  const asked = JSON.stringify([url, token, body])
  const known = keys.get(asked)
  const key = known ?? newKey()
  keys.set(asked, key)
  let mayExist = known !== undefined
  for (let attempt = 1; ; attempt++) {
    say(attempt === 1 ? 'Creating your key…' : 'Trying again…')
    const {
      content: credential,
      problem,
      retryAfter,
    } = await send(url, {
      method: 'POST',
      token,
      body,
      key,
      isExpected: ({ status, content }) => status === 201 && isCredential(content),
    })
    if (credential === undefined && problem.retryable) {
      mayExist ||= isOutcomeUnknown(problem)
      const seconds = Math.ceil(retryAfter)
      if (attempt < MOST_TRIES && seconds <= LONGEST_PAUSE_S) {
        say(`${problem.title}. Trying again in ${seconds} ${seconds === 1 ? 'second' : 'seconds'}.`)
        await pause(seconds)
        continue
      }
      return { problem, mayExist, retryAfter }
    }
    // The response of a firewall or a proxy says nothing about the registration, which may have succeeded.
    if (credential === undefined && problem.code === undefined) return { problem, mayExist: true, retryAfter }
    keys.delete(asked)
    return credential === undefined ? { problem } : { credential }
  }
}

/**
 * Reads a document, or deletes what is there. A busy service is asked again.
 * @returns `{ content }` or `{ problem, retryAfter }`, as {@link mint} does
 */
export async function call(url, method, token, say) {
  for (let attempt = 1; ; attempt++) {
    say(attempt === 1 ? 'One moment…' : 'Trying again…')
    const isExpected = ({ status, content }) =>
      method === 'DELETE' ? status === 204 : status === 200 && typeof content === 'object'
    const { content, problem, retryAfter } = await send(url, { method, token, isExpected })
    if (problem === undefined) return { content }
    if (!problem.retryable || attempt >= MOST_TRIES || retryAfter > LONGEST_PAUSE_S)
      return { problem, retryAfter }
    await pause(retryAfter)
  }
}

async function send(url, { method, token, body, key, isExpected }) {
  let answer
  let text = ''
  try {
    answer = await fetch(url, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(key === undefined ? {} : { 'idempotency-key': key }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    text = await answer.text()
  } catch {
    return { problem: { title: 'The service cannot be reached', retryable: true }, retryAfter: USUAL_PAUSE_S }
  }
  const content = parse(text)
  const { status } = answer
  if (isExpected({ status, content })) return { content }
  const after = Number(answer.headers.get('retry-after'))
  const retryAfter = after > 0 ? after : USUAL_PAUSE_S
  if (isProblem(content)) return { problem: content, retryAfter }
  // A proxy or gateway in between responds in its own format; 429 and 5xx from it are worth a retry.
  const retryable = status === 201 || status === 429 || status >= 500
  const title = `The service sent an unexpected response (HTTP ${status})`
  return { problem: { title, retryable }, retryAfter }
}

/** The complete response to a registration or a rotation: one that was cut or changed on its way is not. */
function isCredential({ api_key_id, api_key_value, use, management }) {
  const texts = [api_key_id, api_key_value, use?.header, management?.url]
  return texts.every((text) => typeof text === 'string')
}

/** An error of the service itself. */
function isProblem({ code, retryable }) {
  return typeof code === 'string' && typeof retryable === 'boolean'
}

/** Parses JSON. Returns an empty object if the text is not JSON. */
function parse(text) {
  try {
    return Object(JSON.parse(text))
  } catch {
    return {}
  }
}

/** Returns `true` if the request may have created a key: no response came, or not from the service, or not in time. */
function isOutcomeUnknown({ code }) {
  return code === undefined || code === 'upstream_unavailable' || code === 'idempotency_in_progress'
}
