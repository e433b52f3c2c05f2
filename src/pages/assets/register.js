// The registration form: registers, shows errors, and shows the key. It stores nothing in the browser.
import { explain, findFaults } from './error-messages.js'
import {
  clearProblem,
  element,
  onSubmit,
  readField,
  readToken,
  say,
  setBusy,
  setTitle,
  showProblem,
  showToken,
} from './form.js'
import { showKey, watch, wouldLose } from './key.js'
import { mint } from './request.js'

const form = element('register')

/** `true` while a request is in flight or may have created a key: only this page can still recover that key. */
let wouldLoseKey = false

async function submitted() {
  clearProblem()
  const [token, name, plan] = [readToken(), readField('name'), readField('plan')]
  const faults = findFaults({ token, name }, 'fkb_')
  if (faults.length > 0) return showProblem('Check what you entered', { faults })
  setBusy(true)
  wouldLoseKey = true
  const body = { name, ...(plan === '' ? {} : { plan }) }
  const { credential, problem, mayExist, retryAfter } = await mint(form.dataset.register, token, body, say)
  say('')
  setBusy(false)
  wouldLoseKey = mayExist === true
  if (credential === undefined) {
    const fields = ['token', 'name', 'plan'].filter((name) => form.elements[name] !== undefined)
    return showProblem('Could not get your key', explain(problem, { mayExist, retryAfter, fields }))
  }
  showKey(credential)
  setTitle('Your API key')
  form.hidden = true
  element('lead').hidden = true
  form.reset()
  showToken(false)
  await watch(`${form.dataset.register}/${credential.registration_id}`, credential.management.token)
}

element('another').addEventListener('click', () => location.reload())

addEventListener('beforeunload', (event) => {
  if (wouldLoseKey || wouldLose()) event.preventDefault()
})

onSubmit(submitted)
