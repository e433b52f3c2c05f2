// The login on the registration form: it leaves for the identity provider of the operator, and comes back with a code, which it
// exchanges for a token for one registration. Only the verifier of the code is stored, in this tab, and until then.
import { element, showProblem } from './form.js'

const STORED = 'firstkey-login'
const section = element('sign-in')

/** The token of the login; `undefined`: there was no login on this page. */
let accessToken

/** Returns the token of the login; `undefined` without one. */
export const signedInToken = () => accessToken

const toBase64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '')
const randomText = () => toBase64url(crypto.getRandomValues(new Uint8Array(32)))

/** Leaves for the login. */
async function signIn({ issuer, label }) {
  const { authorize, redirect } = section.dataset
  const [state, verifier] = [randomText(), randomText()]
  const challenge = toBase64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier)))
  sessionStorage.setItem(STORED, JSON.stringify({ state, verifier, label }))
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: 'firstkey',
    redirect_uri: redirect,
    code_challenge: challenge,
    code_challenge_method: 'S256',
    state,
    issuer,
  })
  location.assign(`${authorize}?${query}`)
}

/** Ends the login that the page came back from, if it did. */
async function comeBack() {
  const query = new URLSearchParams(location.search)
  if (!query.has('state')) return
  // The code must not stay in the history, nor be exchanged again by a reload.
  history.replaceState(null, '', location.pathname)
  const stored = sessionStorage.getItem(STORED)
  sessionStorage.removeItem(STORED)
  const { state, verifier, label } = JSON.parse(stored ?? '{}')
  const { home, redirect } = section.dataset
  if (state !== query.get('state') || query.get('iss') !== home)
    return fail('This page did not start that login, or it was loaded again. Sign in again.')
  const code = query.get('code')
  if (code === null)
    return fail(
      query.get('error') === 'access_denied'
        ? 'You did not finish the login.'
        : query.get('error_description'),
    )
  element('sign-in-progress').textContent = 'Signing you in…'
  const { token, problem } = await exchange({
    grant_type: 'authorization_code',
    client_id: 'firstkey',
    redirect_uri: redirect,
    code,
    code_verifier: verifier,
  })
  element('sign-in-progress').textContent = ''
  if (token === undefined) return fail(problem)
  accessToken = token
  showSignedIn(label)
}

async function exchange(form) {
  const unreachable = 'The service cannot be reached. Sign in again in a moment.'
  try {
    const answer = await fetch(section.dataset.token, {
      method: 'POST',
      headers: { accept: 'application/json' },
      body: new URLSearchParams(form),
      signal: AbortSignal.timeout(35_000),
    })
    const { access_token: token, error_description, next_step } = Object(await answer.json())
    if (typeof token === 'string') return { token }
    return { problem: error_description ? `${error_description} ${next_step}` : unreachable }
  } catch {
    return { problem: unreachable }
  }
}

function fail(text) {
  showProblem('Could not sign you in', {
    faults: [],
    texts: [text || 'The login did not succeed. Sign in again.'],
  })
}

function showSignedIn(label) {
  element('signed-in-text').textContent =
    `You are signed in with ${label}. Your login gives you one key, within 10 minutes.`
  setSignedIn(true)
  element('signed-in').focus()
}

/** Shows what belongs to a login, or to a token. */
function setSignedIn(isSignedIn) {
  element('signed-in').hidden = !isSignedIn
  section.hidden = isSignedIn
  element('token-field').hidden = isSignedIn
}

/** Forgets the login, which is used up or over: the page offers it again. */
export function signOut() {
  accessToken = undefined
  if (section !== null) setSignedIn(false)
}

if (section !== null) {
  const isPossible = crypto.subtle !== undefined
  for (const button of section.querySelectorAll('button')) {
    button.disabled = !isPossible
    button.addEventListener('click', () => signIn(button.dataset))
  }
  element('sign-in-needs-https').hidden = isPossible
  section.hidden = false
  element('use-token').addEventListener('click', () => {
    signOut()
    element('token').focus()
  })
  comeBack()
}
