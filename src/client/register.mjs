#!/usr/bin/env node
// Exchanges a bootstrap token for an API key of a firstkey service. One file, no dependencies, Node.js 20 or newer.
import { createHash, randomUUID } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
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
  --json               print only JSON; with --out, write JSON to FILE
  --out FILE           write the response to FILE as variables (FIRSTKEY_API_KEY=…)
                       for a shell or a .env file, and print no secrets
  --append             let --out change an existing file: add the variables, or
                       replace those that it has; all else in it stays
  --force              let --out replace an existing file as a whole
  --url URL            URL of the service (overrides FIRSTKEY_URL)${
    SERVICE_URL === '' ? '' : `\n                       (default: ${SERVICE_URL})`
  }
  --max-wait SECONDS   how long to keep retrying (default: 300)
  -h, --help           print this help

The token is read from the environment variable FIRSTKEY_TOKEN, because other
users can see command-line arguments in the process list.

FILE can be read only by you. With --append an existing one keeps its mode.

While the outcome of a request is unknown, its Idempotency-Key is kept in a file
.firstkey-… in the current folder, or beside FILE with --out. Run the same
command again to get the same key instead of a second one.

Proxy: Node.js uses HTTPS_PROXY, HTTP_PROXY and NO_PROXY only if you also set
NODE_USE_ENV_PROXY=1. This needs Node.js 24, or 22.21 or newer:
  NODE_USE_ENV_PROXY=1 HTTPS_PROXY=http://proxy.example.com:8080 node register.mjs …
`

/** The variables that --out writes, by the fields of the response. `Accept: text/plain` has the same names. */
const VARIABLES = {
  registration_id: 'FIRSTKEY_REGISTRATION_ID',
  api_key_id: 'FIRSTKEY_API_KEY_ID',
  api_key_value: 'FIRSTKEY_API_KEY',
  name: 'FIRSTKEY_NAME',
  description: 'FIRSTKEY_DESCRIPTION',
  usage_plan_id: 'FIRSTKEY_USAGE_PLAN_ID',
  plan: 'FIRSTKEY_PLAN',
  created_at: 'FIRSTKEY_CREATED_AT',
  expires_at: 'FIRSTKEY_EXPIRES_AT',
  ready: 'FIRSTKEY_READY',
  'use.header': 'FIRSTKEY_API_HEADER',
  'use.base_url': 'FIRSTKEY_API_BASE_URL',
  'use.curl': 'FIRSTKEY_API_CURL',
  'management.token': 'FIRSTKEY_MANAGEMENT_TOKEN',
  'management.url': 'FIRSTKEY_MANAGEMENT_URL',
}

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
        append: { type: 'boolean', default: false },
        force: { type: 'boolean', default: false },
        url: { type: 'string' },
        'max-wait': { type: 'string', default: '300' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (error) {
    // The rest of the message is about positional arguments. A token in it would be printed.
    throw new WrongUsage(error.message.split('. ')[0].replaceAll(/fk[bm]_\w+/g, 'fkb_…'))
  }
  if (values.help) return { help: true }
  const token = readToken(process.env.FIRSTKEY_TOKEN ?? '')
  const url = readUrl(values.url || process.env.FIRSTKEY_URL || SERVICE_URL)
  const maxWaitMs = Number(values['max-wait']) * 1000
  if (!values.name) throw new WrongUsage('--name is missing: add, for example, --name acme-agent')
  if (!(maxWaitMs >= 0)) throw new WrongUsage('--max-wait must be a number of seconds, such as 300')
  for (const name of ['append', 'force'])
    if (values[name] && !values.out) throw new WrongUsage(`--${name} requires --out FILE`)
  if (values.append && values.force) throw new WrongUsage('--append and --force exclude each other')
  if (values.append && values.json)
    throw new WrongUsage('--append adds variables and --json writes JSON: choose one')
  if (values.out === '') throw new WrongUsage('--out requires a file, such as firstkey.env')
  return { ...values, token, url, maxWaitMs }
}

const CHARACTERS = {
  '\r': 'a carriage return',
  '\n': 'a line break',
  '\t': 'a tab',
  ' ': 'a space',
  '"': 'a quotation mark',
  "'": 'an apostrophe',
  '\uFEFF': 'a byte-order mark',
}

/**
 * Reads the bootstrap token. Files with variables often leave something around it: that is cut off, and named if it is
 * more than white space. @throws WrongUsage without the token in it
 */
function readToken(text) {
  const token = text.replaceAll(/^[\s"']+|[\s"']+$/g, '').replace(/^bearer +/i, '')
  if (token === '') throw new WrongUsage('FIRSTKEY_TOKEN is not set: set it to your bootstrap token (fkb_…)')
  const [around] = text.replace(token, '').match(/[\r"'\uFEFF]/) ?? []
  if (around !== undefined)
    process.stderr.write(
      `FIRSTKEY_TOKEN has ${CHARACTERS[around]} before or after the token; it is ignored.\n`,
    )
  const [inside] = token.match(/[^!-~]/u) ?? []
  if (inside !== undefined) {
    const code = inside.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')
    throw new WrongUsage(
      `FIRSTKEY_TOKEN contains invalid characters: ${CHARACTERS[inside] ?? `U+${code}`} inside the token. Copy it again as one word`,
    )
  }
  if (token.startsWith('fkm_'))
    throw new WrongUsage('FIRSTKEY_TOKEN is a management token (fkm_…): set it to a bootstrap token (fkb_…)')
  return token
}

/** Returns the URL of the service, also from the URL of its `/register`. @throws WrongUsage */
function readUrl(text) {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new WrongUsage(
      '--url or FIRSTKEY_URL must be the http(s) URL of the service, such as https://keys.example.com, without a user name',
    )
  const path = url.pathname.replace(/\/+$/, '').replace(/(?:\/+connect)?\/+register(?:\.mjs)?$/, '')
  return (url.origin + path).replace(/\/+$/, '')
}

/**
 * Returns the Idempotency-Key of this request, kept in a file until the request has succeeded or failed for good.
 * @throws WrongUsage
 */
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
  try {
    writeFileSync(file, JSON.stringify({ key, at: Date.now() }), { mode: 0o600 })
  } catch (error) {
    throw new WrongUsage(
      `the Idempotency-Key cannot be kept in ${folder} (${error.code}): run the script in a folder that you can write`,
    )
  }
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
    const problem = `${url} cannot be reached (${reason}).${ignoresProxy() ? PROXY_HINT : ''}`
    // Node.js refuses to connect to this port, so a retry cannot succeed.
    if (reason === 'bad port') return { problem }
    return { problem, waitS: pause * (0.5 + Math.random()) }
  }
  const content = parse(text)
  if (answer.status === 201 && isCredential(content)) return { credential: content }
  const problem = describe(answer, content)
  const isFinal = isProblem(content) && !content.retryable
  if (isFinal || !(isProblem(content) || isPassing(answer))) return { problem, isFinal }
  const after = Number(answer.headers.get('retry-after'))
  return { problem, waitS: after > 0 ? after : pause }
}

const PROXY_HINT = '\nA proxy is set, but Node.js does not use it: see "Proxy" in --help.'

/** Reports whether the environment names a proxy that Node.js does not use. */
function ignoresProxy() {
  const { env, execArgv } = process
  const names = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy']
  const isUsed = [...execArgv, ...(env.NODE_OPTIONS ?? '').split(/\s+/)].includes('--use-env-proxy')
  return names.some((name) => env[name]) && env.NODE_USE_ENV_PROXY !== '1' && !isUsed
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

/** Returns the variables of a credential. `ready` is left out: it is only true for the moment. */
function toVariables(credential) {
  return Object.entries(VARIABLES).flatMap(([path, variable]) => {
    const value = path.split('.').reduce((from, name) => from?.[name], credential)
    return path === 'ready' || value === null || value === undefined ? [] : [[variable, quote(String(value))]]
  })
}

function toLines(credential) {
  return toVariables(credential)
    .map(([variable, value]) => `${variable}=${value}\n`)
    .join('')
}

/**
 * Returns a .env file with the variables of a credential in place of earlier ones. All else stays as it is, byte by byte.
 * @param text each character stands for a byte, as in `latin1`
 */
function insertVariables(text, credential) {
  const bytes = (value) => Buffer.from(value).toString('latin1')
  const left = new Map(toVariables(credential).map(([variable, value]) => [variable, bytes(value)]))
  const ours = new Set(Object.values(VARIABLES))
  const lineEnd = /\r?\n/.exec(text)?.[0] ?? '\n'
  // Odd items are the line ends.
  const parts = text.split(/(\r?\n)/)
  let kept = ''
  for (let i = 0; i < parts.length; i += 2) {
    const [, start, variable] =
      /^((?:\xEF\xBB\xBF)?[ \t]*(?:export[ \t]+)?)(FIRSTKEY_\w+)[ \t]*=/.exec(parts[i]) ?? []
    if (!ours.has(variable)) kept += parts[i] + (parts[i + 1] ?? '')
    else if (left.has(variable)) {
      kept += `${start}${variable}=${left.get(variable)}${parts[i + 1] ?? lineEnd}`
      left.delete(variable)
    }
  }
  if (kept !== '' && !kept.endsWith('\n')) kept += lineEnd
  for (const [variable, value] of left) kept += `${variable}=${value}${lineEnd}`
  return kept
}

/**
 * Creates the file before the request is sent: a key that could not be written would be lost. An existing file is replaced
 * by a rename, so that it never has half of the lines; a symbolic link stays one. @throws WrongUsage
 */
function reserve(options) {
  try {
    return reserveFile(options)
  } catch (error) {
    if (error instanceof WrongUsage) throw error
    throw new WrongUsage(`${options.out} cannot be written (${error.code})`)
  }
}

function reserveFile({ out, force, append, json }) {
  const present = statSync(out, { throwIfNoEntry: false })
  const target = present === undefined ? out : realpathSync(out)
  if (present?.isDirectory())
    throw new WrongUsage(`${out} is a folder: name a file in it, such as ${join(out, 'firstkey.env')}`)
  if (present !== undefined && !present.isFile()) throw new WrongUsage(`${out} is not a regular file`)
  if (present !== undefined && !force && !append)
    throw new WrongUsage(
      `${out} already exists: use --append to add to it, --force to overwrite it, or another file`,
    )
  const changes = append && present !== undefined
  // UTF-16, as PowerShell writes it, has a NUL in every other byte.
  if (changes && readFileSync(target).includes(0)) throw new WrongUsage(`${out} is not a text file in UTF-8`)
  const file = present === undefined ? out : `${target}.${process.pid}`
  closeSync(openSync(file, 'wx', 0o600))
  let isDone = false
  const release = () => {
    if (!isDone) rmSync(file, { force: true })
  }
  try {
    if (changes) keepAccess(file, present)
  } catch (error) {
    release()
    throw error
  }
  if (changes && (present.mode & 0o077) !== 0)
    process.stderr.write(`${out} can be read by other users: chmod 600 makes it yours alone.\n`)
  return {
    release,
    write(credential) {
      const text = json
        ? toJson(credential)
        : changes
          ? Buffer.from(insertVariables(readFileSync(target, 'latin1'), credential), 'latin1')
          : toLines(credential)
      writeFileSync(file, text)
      if (file !== target) renameSync(file, target)
      isDone = true
    },
  }
}

/** Gives a file the owner and the mode of the one that it will replace. */
function keepAccess(file, { uid, gid, mode }) {
  const own = statSync(file)
  if (own.uid !== uid || own.gid !== gid) chownSync(file, uid, gid)
  chmodSync(file, mode & 0o777)
}

function toJson({ api_key_id, api_key_value, ...others }) {
  return `${JSON.stringify({ ...others, api_key_id, api_key_value }, null, 2)}\n`
}

function print(credential, { json, out }) {
  if (credential.ready === false)
    process.stderr.write('The API does not accept the key yet: this can take a few minutes.\n')
  const { api_key_id, api_key_value } = credential
  if (out !== undefined) {
    process.stdout.write(json ? `${JSON.stringify({ api_key_id })}\n` : `api_key_id=${api_key_id}\n`)
    process.stderr.write(`Wrote the API key and the management token to ${out}.\n`)
    return
  }
  const text = toJson(credential)
  process.stdout.write(json ? text : `api_key_id=${api_key_id}\napi_key_value=${api_key_value}\n\n${text}`)
}

async function main() {
  const options = readOptions()
  if (options.help) return void process.stdout.write(USAGE)
  const { name, description, plan, out, url, token } = options
  const body = JSON.stringify({ name, description, plan })
  const target = out === undefined ? undefined : reserve(options)
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
  let kept
  let credential
  try {
    kept = keepKey(url, token, body, out === undefined ? process.cwd() : dirname(resolve(out)))
    credential = await register(options, body, kept.key)
  } catch (error) {
    target?.release()
    if (error.isFinal) kept.forget()
    throw error
  }
  try {
    target?.write(credential)
  } catch (error) {
    target.release()
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
    process.stderr.write(`register.mjs: ${error.message}\nTry: node register.mjs --help\n`)
    process.exitCode = 2
  } else if (error instanceof Refused) {
    process.stderr.write(`register.mjs: ${error.message}\n`)
    process.exitCode = 1
  } else {
    process.stderr.write(`register.mjs: ${error.stack ?? error}\n`)
    process.exitCode = 1
  }
}
