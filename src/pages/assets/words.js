// What went wrong, in plain words.

const NEW_TOKEN = 'Ask the operator for a new one.'
const NOT_YOURS = 'It is not what you entered.'

/** Of each code what it means to a person, and the field that it is about; where one is left out, see {@link explain}. */
const WORDS = {
  missing_token: ['token', 'Enter the bootstrap token that the operator gave you.'],
  invalid_token: ['token', `This token is not known here. Check that you copied all of it. ${NEW_TOKEN}`],
  token_expired: ['token', `This token has expired. ${NEW_TOKEN}`],
  token_revoked: ['token', `This token was revoked. ${NEW_TOKEN}`],
  token_exhausted: ['token', `This token has been used as often as it may be. ${NEW_TOKEN}`],
  idempotency_in_progress: [undefined, 'Your key is still being made.'],
  idempotency_mismatch: [
    undefined,
    'The service takes this for another request. Reload the page and start anew.',
  ],
  registration_ended: [undefined, 'The key of this request is gone. Press the button to get a new one.'],
  key_replaced: [undefined, 'The key of this request was replaced. Press the button to get a new one.'],
  rate_limited: [undefined, 'Too many requests were made with this token, or from your network.'],
  overloaded: [undefined, 'Too many people want a key at this moment.'],
  upstream_throttled: [undefined, 'The service is busy.'],
  upstream_unavailable: [undefined, 'The key could not be made in time.'],
  store_unavailable: [undefined, `The service has a fault at this moment. ${NOT_YOURS}`],
  shutting_down: [undefined, 'The service is just being restarted.'],
  request_timeout: [undefined, 'The request took too long to arrive.'],
  upstream_misconfigured: [undefined, `This service is not set up correctly. ${NOT_YOURS}`],
  key_quota_reached: [undefined, 'The operator cannot hand out more keys at the moment.'],
  internal: [undefined, `Something went wrong in this service. ${NOT_YOURS}`],
}

/** What can be seen without asking: `[field, what is wrong]` each. */
export function findFaults({ token, name }) {
  const faults = []
  if (token === '') faults.push(['token', 'Enter the bootstrap token that the operator gave you.'])
  else if (token.startsWith('fkm_'))
    faults.push(['token', 'This is a management token. A bootstrap token starts with fkb_.'])
  else if (!/^fkb_[0-9A-Za-z]+$/.test(token))
    faults.push(['token', 'A bootstrap token starts with fkb_ and has only letters and digits.'])
  if (name === '') faults.push(['name', 'Enter a name, such as acme-agent.'])
  return faults
}

/**
 * A problem for a person.
 * @param fields the names of the fields there are
 * @returns `faults`, as of {@link findFaults}, and what else is to be said, a `text` each
 */
export function explain(problem, { mayExist, retryAfter, fields }) {
  const [field, words] = WORDS[problem.code] ?? []
  if (field !== undefined) return { faults: [[field, words]], texts: [] }
  const faults = (problem.errors ?? [])
    .map(({ path, message }) => [path.slice(1), message])
    .filter(([name]) => fields.includes(name))
    .map(([name, message]) => [name, `The ${name} ${message}.`])
  if (faults.length > 0) return { faults, texts: [] }
  const texts = [words ?? `${problem.title}.`]
  if (words === undefined) texts.push(problem.detail, problem.next_step)
  if (problem.retryable) texts.push(`Press the button again ${inWords(retryAfter)}.`)
  if (mayExist)
    texts.push(
      'A key may exist already. Do not close this page: the button asks for that same key, and makes no second one.',
    )
  else if (!problem.retryable && problem.instance !== undefined)
    texts.push(`If you tell the operator, name this request: ${problem.instance}`)
  return { faults: [], texts: texts.filter(Boolean) }
}

function inWords(seconds) {
  if (seconds <= 5) return 'in a moment'
  return seconds < 90 ? `in ${Math.ceil(seconds)} seconds` : `in ${Math.ceil(seconds / 60)} minutes`
}
