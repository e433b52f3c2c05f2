// The parts that the forms share: a token, a progress line, and errors above the form and at its fields.

export const element = (id) => document.getElementById(id)

const form = document.forms[0]
const problemBox = element('problem')
const submit = element('submit')
const { title } = document

/** Creates an element. @param text its text, if there is one, before its children */
export function make(tag, text, ...children) {
  const node = document.createElement(tag)
  if (text) node.textContent = text
  node.append(...children)
  return node
}

/** Fills a description list with pairs of texts. */
export function list(target, pairs) {
  target.replaceChildren(...pairs.flatMap(([name, value]) => [make('dt', name), make('dd', value)]))
}

/** Sets the title of the document. @param prefix what happened; without it, the title of the page alone */
export function setTitle(prefix) {
  document.title = prefix === undefined ? title : `${prefix}. ${title}`
}

/** Returns the trimmed text of a field. */
export function readField(name) {
  return String(new FormData(form).get(name) ?? '').trim()
}

/** Returns the token, also if it was pasted with the word before it in the header. */
export const readToken = () => readField('token').replace(/^bearer\s+/i, '')

export function say(text) {
  element('progress').textContent = text
}

/** Makes the form read-only while a request is in flight. */
export function setBusy(isBusy) {
  submit.setAttribute('aria-disabled', String(isBusy))
  for (const field of form.querySelectorAll('input:not([type=radio])')) field.readOnly = isBusy
  for (const choices of form.querySelectorAll('fieldset')) choices.disabled = isBusy
}

export function clearProblem() {
  setTitle()
  problemBox.hidden = true
  for (const fault of form.querySelectorAll('.fault')) fault.textContent = ''
  for (const field of form.querySelectorAll('[aria-invalid]')) field.removeAttribute('aria-invalid')
}

/** Shows a problem above the form, and each fault at its field. */
export function showProblem(heading, { faults, texts = [] }) {
  const items = make('ul')
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
    items.append(make('li', '', link))
  }
  const headline = make('h2', heading)
  headline.id = 'problem-title'
  problemBox.replaceChildren(
    headline,
    ...(faults.length > 0 ? [items] : []),
    ...texts.map((text) => make('p', text)),
  )
  problemBox.hidden = false
  setTitle(`Error: ${heading}`)
  problemBox.focus()
}

/** Shows the token in the clear, or hides it. */
export function showToken(shows) {
  element('token').type = shows ? 'text' : 'password'
  element('show-token').firstChild.textContent = shows ? 'Hide' : 'Show'
}

/** Calls `submitted` when the form is submitted and not busy. Enables the form. */
export function onSubmit(submitted) {
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    if (submit.getAttribute('aria-disabled') !== 'true') submitted()
  })
  element('show-token').addEventListener('click', () => showToken(element('token').type === 'password'))
  element('needs-script').remove()
  submit.disabled = false
}
