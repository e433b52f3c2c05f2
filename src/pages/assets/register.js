// The registration form: registers, shows errors, and shows the key. It stores nothing in the browser.
import { explain, findFaults } from './error-messages.js'
import { showKey, watch, wouldLose } from './key.js'
import { register } from './request.js'

const element = (id) => document.getElementById(id)
const form = element('register')
const problemBox = element('problem')
const submit = element('submit')
const { title } = document

/** `true` while a request is in flight or may have created a key: only this page can still recover that key. */
let wouldLoseKey = false

function readForm() {
  const data = new FormData(form)
  const text = (name) => String(data.get(name) ?? '').trim()
  return { token: text('token').replace(/^bearer\s+/i, ''), name: text('name'), plan: text('plan') }
}

function say(text) {
  element('progress').textContent = text
}

/** Makes the form read-only while a request is in flight. */
function setBusy(isBusy) {
  submit.setAttribute('aria-disabled', String(isBusy))
  for (const field of form.querySelectorAll('input:not([type=radio])')) field.readOnly = isBusy
  for (const choices of form.querySelectorAll('fieldset')) choices.disabled = isBusy
}

function make(tag, text, ...children) {
  const node = document.createElement(tag)
  if (text) node.textContent = text
  node.append(...children)
  return node
}

function clearProblem() {
  document.title = title
  problemBox.hidden = true
  for (const fault of form.querySelectorAll('.fault')) fault.textContent = ''
  for (const field of form.querySelectorAll('[aria-invalid]')) field.removeAttribute('aria-invalid')
}

/** Shows the problem above the form, and each fault at its field. */
function showProblem(heading, { faults, texts = [] }) {
  const list = make('ul')
  for (const [name, text] of faults) {
    const field = form.elements[name]
    const control = field instanceof RadioNodeList ? field[0] : field
    const marked = field instanceof RadioNodeList ? control.closest('fieldset') : control
    element(`${name}-fault`).textContent = text
    marked.setAttribute('aria-invalid', 'true')
    const link = make('a', text)
    link.href = `#${control.id}`
    link.addEventListener('click', (event) => {
      event.preventDefault()
      control.focus()
    })
    list.append(make('li', '', link))
  }
  const headline = make('h2', heading)
  headline.id = 'problem-title'
  problemBox.replaceChildren(
    headline,
    ...(faults.length > 0 ? [list] : []),
    ...texts.map((text) => make('p', text)),
  )
  problemBox.hidden = false
  document.title = `Error: ${heading}. ${title}`
  problemBox.focus()
}

async function submitted() {
  clearProblem()
  const request = readForm()
  const faults = findFaults(request)
  if (faults.length > 0) return showProblem('Check what you entered', { faults })
  setBusy(true)
  wouldLoseKey = true
  const { credential, problem, mayExist, retryAfter } = await register(form.dataset.register, request, say)
  say('')
  setBusy(false)
  wouldLoseKey = mayExist === true
  if (credential === undefined) {
    const fields = ['token', 'name', 'plan'].filter((name) => form.elements[name] !== undefined)
    return showProblem('Could not get your key', explain(problem, { mayExist, retryAfter, fields }))
  }
  showKey(credential)
  document.title = `Your API key. ${title}`
  form.hidden = true
  element('lead').hidden = true
  form.reset()
  showToken(false)
  await watch(`${form.dataset.register}/${credential.registration_id}`, credential.management.token)
}

function showToken(shows) {
  element('token').type = shows ? 'text' : 'password'
  element('show-token').firstChild.textContent = shows ? 'Hide' : 'Show'
}

form.addEventListener('submit', (event) => {
  event.preventDefault()
  if (submit.getAttribute('aria-disabled') !== 'true') submitted()
})

element('show-token').addEventListener('click', () => showToken(element('token').type === 'password'))
element('another').addEventListener('click', () => location.reload())

addEventListener('beforeunload', (event) => {
  if (wouldLoseKey || wouldLose()) event.preventDefault()
})

element('needs-script').remove()
submit.disabled = false
