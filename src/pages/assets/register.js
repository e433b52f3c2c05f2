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
import { signedInToken, signOut } from './sign-in.js'

const form = element('register')
/** The errors of a login that can give no key any more. */
const LOGIN_OVER = ['invalid_token', 'token_expired', 'token_exhausted', 'token_revoked']

/** `true` while a request is in flight or may have created a key: only this page can still recover that key. */
let wouldLoseKey = false

async function submitted() {
  clearProblem()
  const login = signedInToken()
  const [token, name, plan] = [login ?? readToken(), readField('name'), readField('plan')]
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
    if (login !== undefined && LOGIN_OVER.includes(problem.code)) {
      signOut()
      return showProblem('Sign in again', {
        faults: [],
        texts: ['Your login was used for a key already, or is over.'],
      })
    }
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
