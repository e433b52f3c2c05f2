// Error messages for the forms.

const NEW_TOKEN = 'Ask the operator for a new one.'
const NOT_YOURS = 'Your input is not the cause.'

/** The field and the message for each error code. {@link explain} handles codes that are not listed. */
const MESSAGES = {
  missing_token: ['token', 'Enter the bootstrap token that the operator gave you.'],
  token_expired: ['token', `This token has expired. ${NEW_TOKEN}`],
  token_revoked: ['token', `This token was revoked. ${NEW_TOKEN}`],
  token_exhausted: ['token', `This token has no uses left. ${NEW_TOKEN}`],
  token_uses_pending: [undefined, 'All uses of this token are taken for now. One may come back.'],
  identity_not_allowed: [undefined, 'The operator does not allow this account to get a key.'],
  identity_limit_reached: [
    undefined,
    'Your account has as many keys as it may have. Open the management URL of one that you do not need, and delete it.',
  ],
  idempotency_in_progress: [undefined, 'Your key is still being created.'],
  idempotency_mismatch: [
    undefined,
    'This request conflicts with an earlier one from this page. Reload the page and start again.',
  ],
  registration_ended: [
    undefined,
    'The key from this request has expired or was revoked. Press the button to get a new one.',
  ],
  registration_suspended: [undefined, 'The operator has suspended this key.'],
  key_replaced: [undefined, 'The key from this request was replaced. Press the button to get a new one.'],
  rate_limited: [undefined, 'Too many requests were made with this token or from your network.'],
  overloaded: [undefined, 'Too many keys are being requested right now.'],
  upstream_throttled: [undefined, 'The service is busy.'],
  upstream_unavailable: [undefined, 'The key could not be created in time.'],
  store_unavailable: [undefined, `The service has a temporary fault. ${NOT_YOURS}`],
  shutting_down: [undefined, 'The service is restarting.'],
  request_timeout: [undefined, 'Your request took too long to reach the service.'],
  upstream_misconfigured: [undefined, `This service is not set up correctly. ${NOT_YOURS}`],
  key_quota_reached: [
    undefined,
    'The operator has reached the limit of API keys, so no new key can be created right now.',
  ],
  internal: [undefined, `Something went wrong in this service. ${NOT_YOURS}`],
}

const KINDS = {
  fkb_: { kind: 'bootstrap token', source: 'that the operator gave you' },
  fkm_: { kind: 'management token', source: 'that came with the API key' },
}

/**
 * Checks the form before anything is sent.
 * @param prefix the prefix of the token that the form needs
 * @returns `[field, message]` for each fault
 */
export function findFaults({ token, name }, prefix) {
  const faults = []
  const { kind, source } = KINDS[prefix]
  const other = Object.keys(KINDS).find((one) => one !== prefix && token.startsWith(one))
  if (token === '') faults.push(['token', `Enter the ${kind} ${source}.`])
  else if (other !== undefined)
    faults.push(['token', `This is a ${KINDS[other].kind}. Enter a ${kind}: it starts with ${prefix}.`])
  else if (!token.startsWith(prefix) || !/^\w+$/.test(token))
    faults.push([
      'token',
      `A ${kind} is ${prefix} followed by letters and digits. Check that you copied all of it.`,
    ])
  if (name === '') faults.push(['name', 'Enter a name, such as acme-agent.'])
  return faults
}

/**
 * Explains a problem to the user.
 * @param fields the names of the fields in the form
 * @returns `faults` as {@link findFaults} returns them, and `texts`, the sentences that belong to no field
 */
export function explain(problem, { mayExist, retryAfter, fields }) {
  // The service tells a typing error from another format and from a token that it does not know.
  if (problem.code === 'invalid_token')
    return {
      faults: [['token', `${problem.detail} Check that it is the right token, and all of it.`]],
      texts: [],
    }
  const [field, message] = MESSAGES[problem.code] ?? []
  if (field !== undefined) return { faults: [[field, message]], texts: [] }
  const faults = (problem.errors ?? [])
    .map(({ path, message }) => [path.slice(1), message])
    .filter(([name]) => fields.includes(name))
    .map(([name, message]) => [name, `The ${name} ${message}.`])
  if (faults.length > 0) return { faults, texts: [] }
  const texts = [message ?? `${problem.title}.`]
  if (message === undefined) texts.push(problem.detail, problem.next_step)
  if (problem.retryable) texts.push(`Press the button again ${inWords(retryAfter)}.`)
  if (mayExist)
    texts.push(
      'Your key may already exist. Do not close this page: the button returns that key and creates no second one.',
    )
  else if (!problem.retryable && problem.instance !== undefined)
    texts.push(`If you contact the operator, quote this request id: ${problem.instance}`)
  return { faults: [], texts: texts.filter(Boolean) }
}

function inWords(seconds) {
  if (seconds <= 5) return 'in a moment'
  return seconds < 90 ? `in ${Math.ceil(seconds)} seconds` : `in ${Math.ceil(seconds / 60)} minutes`
}
