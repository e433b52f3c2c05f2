// The page of a management URL: shows the registration, replaces its key and deletes it. It stores nothing in the browser.
import { explain, findFaults } from './error-messages.js'
import {
  clearProblem,
  element,
  list,
  make,
  onSubmit,
  readToken,
  say,
  setBusy,
  setTitle,
  showProblem,
  showToken,
} from './form.js'
import { showKey, watch, wouldLose } from './key.js'
import { call, mint } from './request.js'

const form = element('manage')
const { url } = form.dataset
const dialog = element('confirm')

/** The management token that the registration was shown with. */
let token = ''
/** `true` while a rotation is in flight or may have created a key: only this page can still recover that key. */
let wouldLoseKey = false

const STATUSES = {
  active: 'active',
  suspended: 'suspended by the operator: the API rejects the key',
  expired: 'expired',
  revoked: 'deleted',
  pending: 'the key is still being made',
  failed: 'the key was never made',
}
const date = (text) => new Date(text).toLocaleString()
const yesOrNo = (value) => (value === null ? 'not known' : value ? 'yes' : 'no')

/** Runs one action at a time. @param heading the heading if it fails */
async function run(heading, action) {
  clearProblem()
  setBusy(true)
  for (const id of ['rotate', 'delete']) element(id).disabled = true
  const { problem, mayExist, retryAfter } = await action()
  say('')
  setBusy(false)
  for (const id of ['rotate', 'delete']) element(id).disabled = false
  if (problem !== undefined)
    showProblem(heading, explain(problem, { mayExist, retryAfter, fields: ['token'] }))
}

/** Reads the registration and shows it. @returns the result of the call */
async function load() {
  const result = await call(url, 'GET', token, say)
  if (result.problem !== undefined) return result
  const registration = result.content
  const { rotation, status } = registration
  list(element('registration-details'), [
    ['Status', STATUSES[status] ?? status],
    ['Name', registration.name],
    ...(registration.description === '' ? [] : [['Description', registration.description]]),
    ['Plan', registration.plan],
    ['Key id', registration.api_key_id ?? 'none'],
    ['The API accepts the key', yesOrNo(registration.ready ?? registration.live)],
    ['Registered', date(registration.created_at)],
    ...(rotation.rotated_at === null ? [] : [['Key replaced', date(rotation.rotated_at)]]),
    ['Expires', registration.expires_at === null ? 'never' : date(registration.expires_at)],
    ...(rotation.overlapping === null
      ? []
      : [['Earlier key works until', date(rotation.overlapping.ends_at)]]),
  ])
  element('actions').hidden = !['active', 'suspended'].includes(status)
  element('rotate').hidden = status !== 'active'
  element('registration').hidden = false
  await showUsage()
  return result
}

async function showUsage() {
  const { content, problem } = await call(`${url}/usage`, 'GET', token, say)
  element('usage').hidden = problem !== undefined
  element('usage-note').textContent =
    problem === undefined
      ? `API Gateway reports requests up to ${Math.round(content.may_lag_seconds / 60)} minutes late.`
      : `The usage cannot be read right now: ${problem.title}.`
  if (problem !== undefined) return
  const [body] = element('usage').tBodies
  body.replaceChildren(
    ...content.days
      .toReversed()
      .map(({ date: day, used, remaining }) =>
        make(
          'tr',
          '',
          make('td', day),
          make('td', String(used)),
          make('td', remaining === null ? 'no quota' : String(remaining)),
        ),
      ),
  )
}

async function submitted() {
  const entered = readToken()
  const faults = findFaults({ token: entered }, 'fkm_')
  if (faults.length > 0) {
    clearProblem()
    return showProblem('Check what you entered', { faults })
  }
  token = entered
  await run('Could not show the registration', load)
  if (element('registration').hidden || !element('problem').hidden) return
  setTitle('Your registration')
  showToken(false)
  element('registration-title').focus()
}

async function rotate() {
  const overlap = Number(element('overlap').value)
  wouldLoseKey = true
  let credential
  await run('Could not replace the key', async () => {
    const result = await mint(`${url}/rotate`, token, { overlap_seconds: overlap }, say)
    wouldLoseKey = result.mayExist === true
    credential = result.credential
    return result
  })
  if (credential === undefined) return
  showKey(credential)
  setTitle('Your new API key')
  await run('Could not show the registration', load)
  await watch(url, token)
}

async function remove() {
  await run('Could not delete the key', async () => {
    const result = await call(url, 'DELETE', token, say)
    return result.problem === undefined ? load() : result
  })
  if (!element('problem').hidden) return
  setTitle('The key is deleted')
  element('registration-title').focus()
}

/** Asks before an action. */
function confirm({ title, text, yes, action }) {
  element('confirm-title').textContent = title
  element('confirm-text').textContent = text
  element('confirm-yes').textContent = yes
  element('confirm-yes').onclick = () => {
    dialog.close()
    action()
  }
  dialog.showModal()
}

element('confirm-no').addEventListener('click', () => dialog.close())
element('rotate').addEventListener('click', () => {
  const { selectedOptions } = element('overlap')
  confirm({
    title: 'Get a new key?',
    text: `This page shows the new key once. The present key ${selectedOptions[0].textContent}.`,
    yes: 'Get a new key',
    action: rotate,
  })
})
element('delete').addEventListener('click', () =>
  confirm({
    title: 'Delete the key?',
    text: 'The API rejects the key from then on, and an earlier one that still works. This cannot be undone.',
    yes: 'Delete the key',
    action: remove,
  }),
)

addEventListener('beforeunload', (event) => {
  if (wouldLoseKey || wouldLose()) event.preventDefault()
})

onSubmit(submitted)
