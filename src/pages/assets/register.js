// The form of the page: registers, retries as the answers say, and shows the key once. Nothing is stored in the browser.

const element = (id) => document.getElementById(id)
const form = element('register')
const problemBox = element('problem')
const progress = element('progress')
const submit = element('submit')
const keyPanel = element('key')

/** How often, and for how long at a time (s), what may succeed later is tried again without a question. */
const MOST_TRIES = 6
const LONGEST_PAUSE_S = 30
const REQUEST_TIMEOUT_MS = 35_000
/** How often and for how long to look whether the API takes the key (ms). */
const LOOK_EVERY_MS = 2_000
const LOOK_FOR_MS = 5 * 60_000

/** What an error means to a person, and the field that it is about; for the others the service's own words will do. */
const PLAIN_WORDS = {
  missing_token: ['token', 'Enter the bootstrap token that the operator gave you.'],
  invalid_token: [
    'token',
    'This token is not known here. Check that you copied all of it, or ask the operator for a new one.',
  ],
  token_expired: ['token', 'This token has expired. Ask the operator for a new one.'],
  token_revoked: ['token', 'This token was revoked. Ask the operator for a new one.'],
  token_exhausted: [
    'token',
    'This token has been used as often as it may be. Ask the operator for a new one.',
  ],
  rate_limited: [undefined, 'Too many requests came from here. Wait a minute, then try again.'],
  overloaded: [undefined, 'Too many people want a key at this moment. Try again in a minute.'],
  upstream_misconfigured: [undefined, 'Something is wrong with this service, and not with what you entered.'],
  key_quota_reached: [undefined, 'The operator cannot hand out more keys at the moment.'],
  internal: [undefined, 'Something went wrong in this service. It is not what you entered.'],
}

/** The same for every try of one request, so that none makes a second key. */
let idempotencyKey = newIdempotencyKey()
/** Asks before the page is left: a request is under way, or its key was not copied. */
let wouldLose = false

/** A UUID; `randomUUID` is only there where the page came over HTTPS. */
function newIdempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('')
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

function readForm() {
  const data = new FormData(form)
  const text = (name) => String(data.get(name) ?? '').trim()
  return { token: text('token'), name: text('name'), plan: text('plan') }
}

/** What can be seen without asking: [field, what is wrong]. */
function findFaults({ token, name }) {
  const faults = []
  if (token === '') faults.push(['token', 'Enter the bootstrap token that the operator gave you.'])
  else if (token.startsWith('fkm_'))
    faults.push(['token', 'This is a management token. A bootstrap token starts with fkb_.'])
  else if (!/^fkb_[0-9A-Za-z]+$/.test(token))
    faults.push(['token', 'A bootstrap token starts with fkb_ and has only letters and digits.'])
  if (name === '') faults.push(['name', 'Enter a name, such as acme-agent.'])
  return faults
}

/** Sends the request until it is answered for good, or too often. @returns `{ credential }` or `{ problem }` */
async function register(request) {
  for (let attempt = 1; ; attempt++) {
    progress.textContent = attempt === 1 ? 'Making your key…' : 'Trying again…'
    const { credential, problem, retryAfter } = await send(request)
    if (credential !== undefined) return { credential }
    if (retryAfter === undefined || retryAfter > LONGEST_PAUSE_S || attempt === MOST_TRIES) return { problem }
    for (let left = Math.ceil(retryAfter); left > 0; left--) {
      progress.textContent = `${problem.title}. Trying again in ${left} s…`
      await pause(1_000)
    }
  }
}

async function send({ token, name, plan }) {
  let answer
  let content
  try {
    answer = await fetch(form.dataset.register, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/json',
        'idempotency-key': idempotencyKey,
      },
      body: JSON.stringify({ name, ...(plan === '' ? {} : { plan }) }),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    })
    content = await answer.json()
  } catch {
    const title = answer === undefined ? 'The service cannot be reached' : 'The answer could not be read'
    return { problem: { title, detail: '', next_step: '', retryable: true }, retryAfter: 2 }
  }
  if (answer.status === 201) return { credential: content }
  const retryable = content.retryable ?? answer.status >= 500
  const problem = { title: `The service answered ${answer.status}`, ...content, retryable }
  return { problem, retryAfter: retryable ? Number(answer.headers.get('retry-after') ?? 2) : undefined }
}

function make(tag, text, ...children) {
  const node = document.createElement(tag)
  if (text) node.textContent = text
  node.append(...children)
  return node
}

function clearProblem() {
  problemBox.hidden = true
  problemBox.replaceChildren()
  for (const fault of form.querySelectorAll('.fault')) fault.textContent = ''
  for (const field of form.querySelectorAll('[aria-invalid]')) field.removeAttribute('aria-invalid')
}

/** Says what went wrong above the form, and at each field that it is about. @param faults [field, text] each */
function showProblem(title, faults, ...more) {
  const list = make('ul')
  for (const [field, text] of faults) {
    const input = form.elements[field]
    const control = input instanceof RadioNodeList ? input[0] : input
    element(`${field}-fault`).textContent = text
    const marked = input instanceof RadioNodeList ? control.closest('fieldset') : control
    marked.setAttribute('aria-invalid', 'true')
    const link = make('a', text)
    link.href = `#${field}-fault`
    link.addEventListener('click', (event) => {
      event.preventDefault()
      control.focus()
    })
    list.append(make('li', '', link))
  }
  problemBox.replaceChildren(make('h2', title), ...(faults.length > 0 ? [list] : []))
  for (const text of more) if (text) problemBox.append(make('p', text))
  problemBox.hidden = false
  problemBox.focus()
}

function explain(problem) {
  const [field, words] = PLAIN_WORDS[problem.code] ?? []
  const fields = (problem.errors ?? [])
    .map(({ path, message }) => [path.slice(1), message])
    .filter(([name]) => form.elements[name] !== undefined)
    .map(([name, message]) => [name, `The ${name} ${message}.`])
  if (field !== undefined) fields.push([field, words])
  if (fields.length > 0) return showProblem('You have no key yet', fields)
  const again = problem.retryable
    ? 'You can press the button again: it is the same request, and makes one key, whatever happened to this one.'
    : ''
  const reference =
    problem.instance === undefined ? '' : `If you tell the operator, name this: ${problem.instance}`
  showProblem(words ?? `${problem.title}.`, [], words === undefined ? problem.detail : '', again, reference)
}

function showKey({
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
  element('management-token').value = management.token
  element('use').firstElementChild.textContent = use.curl
  const date = (text) => new Date(text).toLocaleString()
  const details = [
    ['Name', name],
    ['Plan', plan],
    ['Key id', api_key_id],
    ['Registration', registration_id],
    ['Manage it at', management.url],
    ['Made', date(created_at)],
    ['Ends', expires_at === null ? 'Never, by itself' : date(expires_at)],
  ]
  element('details').replaceChildren(
    ...details.flatMap(([term, value]) => [make('dt', term), make('dd', value)]),
  )
  form.hidden = true
  progress.textContent = ''
  keyPanel.hidden = false
  keyPanel.focus()
}

/** Tells whether the API takes the key, as long as that may change. */
async function watch({ registration_id, management }) {
  const ready = element('ready')
  const giveUpAt = Date.now() + LOOK_FOR_MS
  while (Date.now() < giveUpAt) {
    const state = await fetch(`${form.dataset.register}/${registration_id}`, {
      headers: { authorization: `Bearer ${management.token}` },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    })
      .then((answer) => answer.json())
      .catch(() => ({}))
    if (state.ready === true) {
      ready.textContent = 'The API takes the key: it works.'
      ready.className = 'works'
      return
    }
    const text =
      state.ready === false
        ? 'The API does not take the key yet. That takes from seconds to a few minutes; this page keeps looking.'
        : 'A new key takes from seconds to a few minutes until the API takes it. If it is refused, try again.'
    // Said once, and not every two seconds to who listens.
    if (ready.textContent !== text) ready.textContent = text
    // It is alive, and yet nobody can say.
    if (state.live === true && state.ready === null) return
    await pause(LOOK_EVERY_MS)
  }
}

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  if (submit.getAttribute('aria-disabled') === 'true') return
  clearProblem()
  const request = readForm()
  const faults = findFaults(request)
  if (faults.length > 0) return showProblem('Something is missing', faults)
  submit.setAttribute('aria-disabled', 'true')
  wouldLose = true
  const { credential, problem } = await register(request)
  submit.removeAttribute('aria-disabled')
  progress.textContent = ''
  if (credential === undefined) {
    wouldLose = false
    if (!problem.retryable) idempotencyKey = newIdempotencyKey()
    explain(problem)
    return
  }
  form.reset()
  showKey(credential)
  await watch(credential)
})

// What is asked for is another request now.
form.addEventListener('input', () => {
  idempotencyKey = newIdempotencyKey()
})

element('show-token').addEventListener('click', ({ currentTarget }) => {
  const shows = currentTarget.getAttribute('aria-pressed') !== 'true'
  currentTarget.setAttribute('aria-pressed', String(shows))
  element('token').type = shows ? 'text' : 'password'
})

for (const button of document.querySelectorAll('[data-copy]')) {
  const [label] = button.childNodes
  const before = label.textContent
  button.addEventListener('click', async () => {
    const source = element(button.dataset.copy)
    const text = source.value ?? source.textContent
    try {
      await navigator.clipboard.writeText(text)
      label.textContent = 'Copied'
      if (source.id === 'api-key') wouldLose = false
    } catch {
      // Not allowed, or not over HTTPS: the person can still do it.
      if (source.select) source.select()
      else getSelection().selectAllChildren(source)
      label.textContent = 'Press Ctrl+C'
    }
    setTimeout(() => {
      label.textContent = before
    }, 3_000)
  })
}
// Copied by hand.
element('api-key').addEventListener('copy', () => {
  wouldLose = false
})

element('another').addEventListener('click', () => location.reload())

addEventListener('beforeunload', (event) => {
  if (wouldLose) event.preventDefault()
})

element('needs-script').remove()
submit.disabled = false
