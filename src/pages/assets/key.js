// Shows the new key, and reports whether the API accepts it.
import { onCopy } from './copy.js'
import { element, list } from './form.js'

/** The first and the longest pause between checks of the key, and the time after which they stop (ms). */
const FIRST_PAUSE_MS = 2_000
const LONGEST_PAUSE_MS = 15_000
const LOOK_FOR_MS = 5 * 60_000
/** The number of checks in a row without a result after which the page stops checking. */
const MOST_UNKNOWN = 3

const NOT_YET =
  'The API does not accept the key yet. This can take from a few seconds to a few minutes. This page keeps checking.'
const UNKNOWN =
  'It can take from a few seconds to a few minutes until the API accepts the key. If it rejects the key, try again later.'

/** The ids of the secrets that were not copied yet. */
const uncopied = new Set()

/** Returns `true` if a secret was not copied yet, so that leaving the page would lose it. */
export const wouldLose = () => uncopied.size > 0

export function showKey({
  api_key_value,
  api_key_id,
  name,
  plan,
  created_at,
  expires_at,
  registration_id,
  use,
  management,
}) {
  element('api-key').value = api_key_value
  uncopied.add('api-key')
  // A rotation keeps the management token.
  if (management.token !== undefined) {
    element('management-token').value = management.token
    uncopied.add('management-token')
  }
  element('use').firstElementChild.textContent = use.curl
  const date = (text) => new Date(text).toLocaleString()
  list(element('details'), [
    ['Name', name],
    ['Plan', plan],
    ['Key id', api_key_id],
    ['Registration id', registration_id],
    ['Management URL', management.url],
    ['Created', date(created_at)],
    ['Expires', expires_at === null ? 'never' : date(expires_at)],
  ])
  element('key').hidden = false
  const title = element('key-title')
  title.focus({ preventScroll: true })
  title.scrollIntoView({ block: 'start' })
}

/**
 * Reports on the page whether the API accepts the key, until it does or the result can no longer change.
 * @param url the management URL of the registration
 * @param token the management token
 */
export async function watch(url, token) {
  const giveUpAt = Date.now() + LOOK_FOR_MS
  let unknown = 0
  for (let ms = FIRST_PAUSE_MS; Date.now() < giveUpAt; ms = Math.min(ms * 1.3, LONGEST_PAUSE_MS)) {
    await visible()
    const { status, retryAfter, ready } = await look(url, token)
    if (ready === true) return tell('The key works.', 'works')
    unknown = ready === false ? 0 : unknown + 1
    if (status === 401 || status === 404 || unknown === MOST_UNKNOWN) break
    tell(ready === false ? NOT_YET : UNKNOWN)
    await new Promise((resolve) => setTimeout(resolve, Math.max(ms, retryAfter * 1_000)))
  }
  tell(UNKNOWN)
}

async function look(url, token) {
  try {
    const headers = { authorization: `Bearer ${token}` }
    const answer = await fetch(url, { headers, signal: AbortSignal.timeout(35_000) })
    const { ready } = Object(await answer.json())
    return { status: answer.status, retryAfter: Number(answer.headers.get('retry-after')) || 0, ready }
  } catch {
    return { status: 0, retryAfter: 0, ready: undefined }
  }
}

function visible() {
  if (!document.hidden) return undefined
  return new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }))
}

/** Changes the text only if it is new, so that a screen reader does not announce it at every check. */
function tell(text, className = '') {
  const ready = element('ready')
  if (ready.textContent !== text) ready.textContent = text
  ready.className = className
}

/** @param copied the id of the element whose whole text was copied */
function noteCopy(copied) {
  // The command contains the key.
  uncopied.delete(copied === 'use' ? 'api-key' : copied)
}

onCopy(noteCopy)

for (const id of ['api-key', 'management-token'])
  element(id)?.addEventListener('copy', ({ currentTarget: { id, selectionStart, selectionEnd, value } }) => {
    if (selectionStart === 0 && selectionEnd === value.length) noteCopy(id)
  })
