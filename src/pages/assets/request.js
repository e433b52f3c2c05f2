// Asks for a key until the answer is final, so that one request makes one key, whatever is lost on the way.

/** How often, and for how long at a time (s), what may succeed later is tried again without a question. */
const MOST_TRIES = 6
const LONGEST_PAUSE_S = 30
const USUAL_PAUSE_S = 2
const TIMEOUT_MS = 35_000

/** The Idempotency-Key of each request whose outcome is not known yet, by what was asked. */
const keys = new Map()

/** A UUID would be as good; `crypto.randomUUID` is only there where the page came over HTTPS. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1_000))

/**
 * Registers.
 * @param say is told what goes on, in words
 * @returns `{ credential }`, or `{ problem }`, for a retryable one with `mayExist`: whether a key may have been made
 *   that nobody was given, and `retryAfter` (s)
 */
export async function register(url, request, say) {
  const asked = JSON.stringify(request)
  const known = keys.get(asked)
  const key = known ?? newKey()
  keys.set(asked, key)
  let mayExist = known !== undefined
  for (let attempt = 1; ; attempt++) {
    say(attempt === 1 ? 'Making your key…' : 'Trying again…')
    const { credential, problem, retryAfter } = await send(url, request, key)
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
    keys.delete(asked)
    return credential === undefined ? { problem } : { credential }
  }
}

async function send(url, { token, name, plan }, key) {
  let answer
  let text = ''
  try {
    answer = await fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/json',
        'idempotency-key': key,
      },
      body: JSON.stringify({ name, ...(plan === '' ? {} : { plan }) }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    text = await answer.text()
  } catch {
    return { problem: { title: 'The service cannot be reached', retryable: true }, retryAfter: USUAL_PAUSE_S }
  }
  const content = parse(text)
  if (answer.status === 201 && typeof content.api_key_value === 'string') return { credential: content }
  // What is in between may answer, too: a gateway that says 429 or 5xx in its own words.
  const retryable =
    content.retryable ?? (answer.status === 201 || answer.status === 429 || answer.status >= 500)
  const after = Number(answer.headers.get('retry-after'))
  return {
    problem: {
      title: `The service answered ${answer.status}, and not in its usual way`,
      ...content,
      retryable,
    },
    retryAfter: after > 0 ? after : USUAL_PAUSE_S,
  }
}

/** The object that a JSON text is, or an empty one. */
function parse(text) {
  try {
    return Object(JSON.parse(text))
  } catch {
    return {}
  }
}

/** Whether the request may have made a key all the same: it was not answered, or not by the service, or not in time. */
function isOutcomeUnknown({ code }) {
  return code === undefined || code === 'upstream_unavailable' || code === 'idempotency_in_progress'
}
