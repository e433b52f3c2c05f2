#!/usr/bin/env node
// Exchanges a bootstrap token for an API key of a firstkey service. One file, no dependencies, Node.js 20 or newer.
import { createHash, randomUUID } from 'node:crypto'
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

// The URL of the service that served this file. The service fills it in.
const SERVICE_URL = ''

const USAGE = `usage: FIRSTKEY_TOKEN=fkb_… node register.mjs --name NAME [options]

Exchanges a bootstrap token for an API key and prints the key.

  --name NAME          the person or program that uses the key; required
  --description TEXT   what the key is for
  --plan NAME          a plan that the token allows
                       (default: the token's default plan)
  --json               print only JSON
  --out FILE           write name=value lines to FILE, which only you can read,
                       and print no secrets
  --force              let --out overwrite an existing file
  --url URL            URL of the service (overrides FIRSTKEY_URL)${
    SERVICE_URL === '' ? '' : `\n                       (default: ${SERVICE_URL})`
  }
  --max-wait SECONDS   how long to keep retrying (default: 300)
  --help               print this help

The token is read from the environment variable FIRSTKEY_TOKEN, because other
users can see command-line arguments in the process list.

While the outcome of a request is unknown, its Idempotency-Key is kept in a file
.firstkey-… in the current folder, or beside FILE with --out. Run the same
command again to get the same key instead of a second one.
`

class WrongUsage extends Error {}

/**
 * A request that was rejected, or that did not succeed within `--max-wait`. With `isFinal`, the service said that a retry
 * cannot succeed.
 */
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
  if (token === '') throw new WrongUsage('FIRSTKEY_TOKEN is not set: set it to your bootstrap token (fkb_…)')
  if (!/^[!-~]+$/.test(token))
    throw new WrongUsage(
      'FIRSTKEY_TOKEN contains invalid characters: a token is fkb_ followed by letters and digits',
    )
  if (!values.name) throw new WrongUsage('--name is missing: add, for example, --name acme-agent')
  if (!/^https?:\/\//.test(url))
    throw new WrongUsage(
      '--url or FIRSTKEY_URL must be the http(s) URL of the service, such as https://keys.example.com',
    )
  if (!(maxWaitMs >= 0)) throw new WrongUsage('--max-wait must be a number of seconds, such as 300')
  if (values.force && values.out === undefined) throw new WrongUsage('--force requires --out')
  return { ...values, token, url, maxWaitMs }
}

/** Returns the Idempotency-Key of this request, kept in a file until the request has succeeded or failed for good. */
function keepKey(url, token, body, folder) {
  const name = createHash('sha256').update(`${url}\n${token}\n${body}`).digest('hex').slice(0, 16)
  const file = join(folder, `.firstkey-${name}`)
  const forget = () => rmSync(file, { force: true })
  try {
    const kept = JSON.parse(readFileSync(file, 'utf8'))
    // The service remembers a key for a day; an hour less leaves time for the retries.
    if (Date.now() - kept.at < 23 * 3_600_000) return { key: kept.key, forget }
  } catch {
    // No key is kept.
  }
  const key = randomUUID()
  writeFileSync(file, JSON.stringify({ key, at: Date.now() }), { mode: 0o600 })
  return { key, forget }
}

/** Sends the request and retries it until the outcome is final. @throws Refused */
async function register({ url, token, maxWaitMs }, body, key) {
  const giveUpAt = Date.now() + maxWaitMs
  for (let pause = 0.5; ; pause = Math.min(pause * 2, 15)) {
    const { credential, problem, isFinal, waitS } = await send(url, token, body, key, pause)
    if (credential !== undefined) return credential
    if (waitS === undefined) throw Object.assign(new Refused(problem), { isFinal })
    if (Date.now() + waitS * 1000 > giveUpAt)
      throw new Refused(
        `${problem}\nGave up: the next retry would exceed --max-wait (${maxWaitMs / 1000} s).\nRun the same command again later.`,
      )
    process.stderr.write(`${problem.split('\n')[0]} Retrying in ${Math.ceil(waitS)} s.\n`)
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
        // Waits until the key works, if the service can probe the API.
        prefer: 'wait=20',
      },
      body,
      signal: AbortSignal.timeout(35_000),
    })
    text = await answer.text()
  } catch (error) {
    const reason = error.cause?.code ?? error.cause?.message ?? error.name
    // Node.js refuses to connect to this port, so a retry cannot succeed.
    if (reason === 'bad port') return { problem: `${url} cannot be reached (${reason}).` }
    return { problem: `${url} cannot be reached (${reason}).`, waitS: pause * (0.5 + Math.random()) }
  }
  const content = parse(text)
  if (answer.status === 201 && isCredential(content)) return { credential: content }
  const problem = describe(answer, content)
  const isFinal = isProblem(content) && !content.retryable
  if (isFinal || !(isProblem(content) || isPassing(answer))) return { problem, isFinal }
  const after = Number(answer.headers.get('retry-after'))
  return { problem, waitS: after > 0 ? after : pause }
}

/** The complete response to a registration: one that was cut or changed on its way is not. */
function isCredential(content) {
  const { api_key_id, api_key_value, use, management } = content ?? {}
  const texts = [api_key_id, api_key_value, use?.header, use?.base_url, management?.token, management?.url]
  return texts.every((text) => typeof text === 'string')
}

/** An error of the service itself. A proxy, a firewall or a captive portal in between responds in its own format. */
function isProblem(content) {
  return typeof content?.code === 'string' && typeof content.retryable === 'boolean'
}

/** Statuses of others that are worth a retry, and a 201 whose body is damaged: the retry gets the same key. */
function isPassing({ status }) {
  return status === 201 || status === 408 || status === 429 || status >= 500
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function describe({ status }, content) {
  if (status === 201) return 'The response is damaged.\nRun the same command again to get the same key.'
  if (!isProblem(content))
    return [
      `HTTP ${status}, not from firstkey.`,
      'Check the URL of the service and any proxy in front of it.',
      'Then run the same command again: if a key was made, you get that key.',
    ].join('\n')
  return [
    `${content.title} (${content.code}): ${content.detail}`,
    content.next_step,
    `Request id: ${content.instance}`,
  ].join('\n')
}

/** Quotes text as one shell word that is also a valid .env value, as far as the two formats agree. */
function quote(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text
  if (!text.includes("'")) return `'${text}'`
  return /["$`\\]/.test(text) ? `'${text.replaceAll("'", "'\\''")}'` : `"${text}"`
}

/** Formats a credential as name=value lines for a shell or a .env file. */
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

/** Creates the file before the request is sent: a key that could not be written would be lost. @throws WrongUsage */
function reserve(out, force) {
  const file = force ? `${out}.${process.pid}` : out
  try {
    closeSync(openSync(file, 'wx', 0o600))
  } catch (error) {
    if (error.code === 'EEXIST') throw new WrongUsage(`${out} already exists: use --force to overwrite it`)
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
    process.stderr.write('The API does not accept the key yet: this can take a few minutes.\n')
  const { api_key_id, api_key_value, ...others } = credential
  if (out !== undefined) {
    process.stdout.write(`api_key_id=${api_key_id}\n`)
    process.stderr.write(`Wrote the API key and the management token to ${out}.\n`)
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
      // The Idempotency-Key stays in its file: the next run gets the same key.
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
    // Print the key that cannot be written: otherwise it would be lost.
    print(credential, { json: options.json })
    throw new Refused(`${out} could not be written (${error.code}); the key was printed instead`)
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
