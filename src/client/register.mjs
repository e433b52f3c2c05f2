#!/usr/bin/env node
// Registers with a firstkey service: a bootstrap token in, an API key out. One file, no dependencies, Node.js 20 or newer.
import { createHash, randomUUID } from 'node:crypto'
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

// The service that this file was fetched from, if it was.
const SERVICE_URL = ''

const USAGE = `usage: FIRSTKEY_TOKEN=fkb_… node register.mjs --name NAME [options]

  --name NAME          who the key is for
  --description TEXT   what it is for
  --plan NAME          one of the plans that the token may ask for
  --json               print JSON alone
  --out FILE           write name=value lines to FILE, readable by you only, and print no secret
  --force              let --out replace a file
  --url URL            the service; or FIRSTKEY_URL${SERVICE_URL === '' ? '' : ` (default: ${SERVICE_URL})`}
  --max-wait SECONDS   how long to try again what may succeed later (default: 300)

The token is read from the environment, where no process list shows it. While it is not known whether a request
succeeded, its Idempotency-Key is kept in a file .firstkey-… here: run again, you get the same key and not a second one.
`

class WrongUsage extends Error {}

/** What the service refused for good, or did not do in time. */
class Refused extends Error {}

function readOptions() {
  let values
  try {
    values = parseArgs({
      options: {
        name: { type: 'string' },
        description: { type: 'string' },
        plan: { type: 'string' },
        json: { type: 'boolean', default: false },
        out: { type: 'string' },
        force: { type: 'boolean', default: false },
        url: { type: 'string' },
        'max-wait': { type: 'string', default: '300' },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new WrongUsage(error.message)
  }
  if (values.help) return { help: true }
  const token = (process.env.FIRSTKEY_TOKEN ?? '').trim()
  const url = (values.url ?? process.env.FIRSTKEY_URL ?? SERVICE_URL).replace(/\/+$/, '')
  const maxWaitMs = Number(values['max-wait']) * 1000
  if (token === '') throw new WrongUsage('FIRSTKEY_TOKEN is not set: it is the bootstrap token (fkb_…)')
  if (!/^[!-~]+$/.test(token)) throw new WrongUsage('FIRSTKEY_TOKEN has characters in it that no token has')
  if (!values.name) throw new WrongUsage('--name is missing')
  if (!/^https?:\/\//.test(url))
    throw new WrongUsage('--url or FIRSTKEY_URL must be the http(s) URL of the service')
  if (!(maxWaitMs >= 0)) throw new WrongUsage('--max-wait must be a number of seconds')
  if (values.force && values.out === undefined) throw new WrongUsage('--force goes with --out')
  return { ...values, token, url, maxWaitMs }
}

/** The Idempotency-Key of this very request, the same one until it has succeeded or failed for good. */
function keepKey(url, token, body, folder) {
  const name = createHash('sha256').update(`${url}\n${token}\n${body}`).digest('hex').slice(0, 16)
  const file = join(folder, `.firstkey-${name}`)
  const forget = () => rmSync(file, { force: true })
  try {
    const kept = JSON.parse(readFileSync(file, 'utf8'))
    // The service remembers it for a day.
    if (Date.now() - kept.at < 23 * 3_600_000) return { key: kept.key, forget }
  } catch {
    // None is kept.
  }
  const key = randomUUID()
  writeFileSync(file, JSON.stringify({ key, at: Date.now() }), { mode: 0o600 })
  return { key, forget }
}

/** Sends the request until the answer is final. */
async function register({ url, token, maxWaitMs }, body, key) {
  const giveUpAt = Date.now() + maxWaitMs
  for (let pause = 0.5; ; pause = Math.min(pause * 2, 15)) {
    const { credential, problem, waitS } = await send(url, token, body, key, pause)
    if (credential !== undefined) return credential
    if (waitS === undefined) throw Object.assign(new Refused(problem), { isFinal: true })
    if (Date.now() + waitS * 1000 > giveUpAt)
      throw new Refused(
        `${problem}\nGave up: more than ${maxWaitMs / 1000} s (--max-wait) would be needed. Run it again later.`,
      )
    process.stderr.write(`${problem.split('\n')[0]} Trying again in ${Math.ceil(waitS)} s.\n`)
    await sleep(waitS * 1000)
  }
}

async function send(url, token, body, key, pause) {
  let answer
  let text
  try {
    answer = await fetch(`${url}/register`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/json',
        'idempotency-key': key,
        // A key that works already, where the service can see that.
        prefer: 'wait=20',
      },
      body,
      signal: AbortSignal.timeout(35_000),
    })
    text = await answer.text()
  } catch (error) {
    const reason = error.cause?.code ?? error.cause?.message ?? error.name
    // Never sent, and never will be.
    if (reason === 'bad port') return { problem: `${url} cannot be asked (${reason}).` }
    return { problem: `${url} cannot be reached (${reason}).`, waitS: pause * (0.5 + Math.random()) }
  }
  const content = parse(text)
  if (answer.status === 201 && typeof content?.api_key_value === 'string') return { credential: content }
  const problem = describe(answer, content)
  const after = Number(answer.headers.get('retry-after'))
  // What is in between may answer, too: a gateway that says 5xx or 429 in its own words.
  const isRetryable = content?.retryable ?? (answer.status === 429 || answer.status >= 500)
  return isRetryable ? { problem, waitS: after > 0 ? after : pause } : { problem }
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function describe({ status }, content) {
  if (typeof content?.code !== 'string') return `The service answered ${status}, and not as firstkey does.`
  return [
    `${content.title} (${content.code}): ${content.detail}`,
    content.next_step,
    `Request id: ${content.instance}`,
  ].join('\n')
}

/** One word of a shell, and a value of an .env file as far as the two agree. */
function quote(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text
  if (!text.includes("'")) return `'${text}'`
  return /["$`\\]/.test(text) ? `'${text.replaceAll("'", "'\\''")}'` : `"${text}"`
}

/** name=value lines, for a shell and for .env files. */
function toLines(credential) {
  const { use, management, ready: _, ...fields } = credential
  const all = {
    ...fields,
    header: use.header,
    base_url: use.base_url,
    management_token: management.token,
    management_url: management.url,
  }
  return Object.entries(all)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}=${quote(String(value))}\n`)
    .join('')
}

/** Takes the name of the file before anything is asked for: a key that could not be written would be lost. */
function reserve(out, force) {
  const file = force ? `${out}.${process.pid}` : out
  try {
    closeSync(openSync(file, 'wx', 0o600))
  } catch (error) {
    if (error.code === 'EEXIST') throw new WrongUsage(`${out} is there already: --force replaces it`)
    throw new WrongUsage(`${out} cannot be written (${error.code})`)
  }
  let holdsKey = false
  return {
    release() {
      if (!holdsKey) rmSync(file, { force: true })
    },
    write(text) {
      holdsKey = true
      writeFileSync(file, text, { mode: 0o600 })
      if (force) renameSync(file, out)
    },
  }
}

function print(credential, { json, out }) {
  if (credential.ready === false)
    process.stderr.write('The API does not take the key yet: try it again in a while.\n')
  const { api_key_id, api_key_value, ...others } = credential
  if (out !== undefined) {
    process.stdout.write(`api_key_id=${api_key_id}\n`)
    process.stderr.write(`Written to ${out}, which holds the secrets.\n`)
    return
  }
  const text = `${JSON.stringify({ ...others, api_key_id, api_key_value }, null, 2)}\n`
  process.stdout.write(json ? text : `api_key_id=${api_key_id}\napi_key_value=${api_key_value}\n\n${text}`)
}

async function main() {
  const options = readOptions()
  if (options.help) return void process.stdout.write(USAGE)
  const { name, description, plan, out, force, url, token } = options
  const body = JSON.stringify({ name, description, plan })
  const target = out === undefined ? undefined : reserve(out, force)
  for (const [signal, code] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])
    process.once(signal, () => {
      // What is kept of the request stays: run again, it gets the same key.
      target?.release()
      process.exit(code)
    })
  const kept = keepKey(url, token, body, out === undefined ? process.cwd() : dirname(resolve(out)))
  let credential
  try {
    credential = await register(options, body, kept.key)
  } catch (error) {
    target?.release()
    if (error.isFinal) kept.forget()
    throw error
  }
  try {
    target?.write(toLines(credential))
  } catch (error) {
    // Not lost: what cannot be kept in the file is printed.
    print(credential, { json: options.json })
    throw new Refused(`${out} could not be written (${error.code}); the key is printed instead`)
  }
  kept.forget()
  print(credential, options)
}

try {
  await main()
} catch (error) {
  if (error instanceof WrongUsage) {
    process.stderr.write(`register.mjs: ${error.message}\n\n${USAGE}`)
    process.exitCode = 2
  } else if (error instanceof Refused) {
    process.stderr.write(`register.mjs: ${error.message}\n`)
    process.exitCode = 1
  } else {
    process.stderr.write(`register.mjs: ${error.stack ?? error}\n`)
    process.exitCode = 1
  }
}
