#!/usr/bin/env node
// Registers at a firstkey service and prints the API key. One file, no dependencies, Node.js 20 or newer.
import { spawn } from 'node:child_process'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { ReadStream } from 'node:tty'
import { parseArgs } from 'node:util'

/** The URL of the service that served this file. The service fills it in. */
const SERVICE_URL = ''
/** The audience that an identity token for that service must have. The service fills it in. */
const AUDIENCE = ''

/** The projected token of a pod for the service. */
const KUBERNETES_TOKEN = '/var/run/secrets/tokens/firstkey'

const USAGE = `usage: node register.mjs --name NAME [options]

Registers at a firstkey service and prints an API key.

  --name NAME          the person or program that uses the key; required
  --description TEXT   what the key is for
  --plan NAME          a plan that the service allows you
                       (default: your default plan)
  --login              log in with the browser if no other identity is found
  --no-browser         with --login: print an address to open on any computer,
                       and read the code that it shows from the terminal
  --json               print only JSON; with --out, write JSON to FILE
  --out FILE           write the response to FILE as variables, such as
                       FIRSTKEY_API_KEY=…, for a shell or a .env file, and print
                       no secrets
  --append             let --out change an existing file: add the variables, or
                       replace those that it has; all else in it stays
  --force              let --out replace an existing file as a whole
  --url URL            URL of the service (overrides FIRSTKEY_URL)${
    SERVICE_URL === '' ? '' : `\n                       (default: ${SERVICE_URL})`
  }
  --audience TEXT      GitHub Actions: the audience of the identity token
                       (default: as the service says)
  --max-wait SECONDS   how long to keep retrying, and to wait for the login
                       (default: 300)
  -h, --help           print this help

Your identity is the first of these that exists:
  FIRSTKEY_TOKEN       environment variable: a bootstrap token (fkb_…) from the
                       operator, or an identity token (JWT) of an issuer that
                       the service accepts
  FIRSTKEY_TOKEN_FILE  environment variable: a file with such a token, which is
                       read again at every try
  GitHub Actions       an identity token of the job. Requires the permission
                       id-token: write
  Kubernetes           a projected token in
                       ${KUBERNETES_TOKEN}
  --login              you, in the browser
No option takes a token: other users can see command-line arguments.

FILE can be read only by you. With --append an existing one keeps its mode.

While the outcome of a request is unknown, its Idempotency-Key is kept in a file
.firstkey-… in the current folder, or beside FILE with --out. With --login, the
token of the login is kept with it. Only you can read the file. Run the same
command again to get the same key instead of a second one.

Proxy: Node.js uses HTTPS_PROXY, HTTP_PROXY and NO_PROXY only if you also set
NODE_USE_ENV_PROXY=1. This needs Node.js 24, or 22.21 or newer:
  export NODE_USE_ENV_PROXY=1 HTTPS_PROXY=http://proxy.example.com:8080
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
 * cannot succeed; `code` is the code of its error.
 */
class Refused extends Error {}

/** A failure that a retry may mend, after `waitS` seconds if the service named a time. */
class Passing extends Error {}

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
        login: { type: 'boolean', default: false },
        'no-browser': { type: 'boolean', default: false },
        audience: { type: 'string' },
        'max-wait': { type: 'string', default: '300' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (error) {
    // The rest of the message is about positional arguments. A token in it would be printed.
    const [message] = error.message.split('. ')
    throw new WrongUsage(message.replaceAll(/fk[bm]_\w+/g, 'fkb_…').replaceAll(/eyJ[\w.-]+/g, 'eyJ…'))
  }
  if (values.help) return { help: true }
  const url = readUrl(values.url || process.env.FIRSTKEY_URL || SERVICE_URL)
  const maxWaitMs = Number(values['max-wait']) * 1000
  if (!values.name) throw new WrongUsage('--name is missing: add, for example, --name acme-agent')
  if (!(maxWaitMs >= 0)) throw new WrongUsage('--max-wait must be a number of seconds, such as 300')
  for (const name of ['append', 'force'])
    if (values[name] && !values.out) throw new WrongUsage(`--${name} requires --out FILE`)
  if (values.append && values.force) throw new WrongUsage('--append and --force exclude each other')
  if (values.append && values.json)
    throw new WrongUsage('--append adds variables and --json writes JSON: choose one')
  if (values['no-browser'] && !values.login) throw new WrongUsage('--no-browser requires --login')
  if (values.out === '') throw new WrongUsage('--out requires a file, such as firstkey.env')
  return { ...values, url, maxWaitMs }
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
 * Returns the caller's way to prove who it is: the first that exists.
 *
 * - `token(kept)` returns the token for one try.
 * - `nameOf(token)` names the identity, without secrets.
 * - `caller` is the same in the next run of the same command, also where the token is another one.
 * - `canRenew`: `token` may return another token after this one was refused.
 * - `awaits`: what has to happen before it does; absent: nothing.
 *
 * @throws WrongUsage if there is none
 */
function findIdentity(options) {
  const { FIRSTKEY_TOKEN = '', FIRSTKEY_TOKEN_FILE: file } = process.env
  const token = readToken(FIRSTKEY_TOKEN, 'FIRSTKEY_TOKEN')
  if (token !== '')
    return {
      caller: isJwt(token) ? 'FIRSTKEY_TOKEN' : token,
      canRenew: false,
      token: async () => token,
      nameOf: () => `FIRSTKEY_TOKEN (${kindOf(token)})`,
    }
  if (file) return tokenInFile(file, (text) => `FIRSTKEY_TOKEN_FILE (${kindOf(text)})`)
  const { ACTIONS_ID_TOKEN_REQUEST_URL: actionsUrl = '', ACTIONS_ID_TOKEN_REQUEST_TOKEN: actionsToken } =
    process.env
  if (URL.canParse(actionsUrl) && actionsToken) return gitHubActions(options, actionsUrl, actionsToken)
  if (existsSync(KUBERNETES_TOKEN)) return tokenInFile(KUBERNETES_TOKEN, nameOfServiceAccount)
  if (options.login)
    return {
      caller: 'login',
      canRenew: true,
      async token(kept) {
        if (kept.token === undefined) kept.save(await logIn(options))
        return kept.token
      },
      nameOf: () => `login at ${options.url}`,
    }
  throw new WrongUsage(`no identity was found:\n${whatIsMissing(options.url)}`)
}

function whatIsMissing(url) {
  const { GITHUB_ACTIONS, GITLAB_CI } = process.env
  const hasClusterToken = existsSync('/var/run/secrets/kubernetes.io/serviceaccount/token')
  return [
    `  FIRSTKEY_TOKEN is not set: set it to your bootstrap token (fkb_…)${
      GITLAB_CI ? ',\n    or to an identity token with "id_tokens:" in the job' : ''
    }`,
    '  FIRSTKEY_TOKEN_FILE is not set: set it to a file with a token',
    GITHUB_ACTIONS
      ? '  GitHub Actions offers no identity token: add "permissions: { id-token: write }" to the job'
      : '  not a job of GitHub Actions',
    hasClusterToken
      ? `  ${KUBERNETES_TOKEN} does not exist: mount a projected token there whose audience\n    is the one in ${url}/llms.txt. The default token of the pod is for the API of\n    the cluster, and is not sent`
      : `  ${KUBERNETES_TOKEN} does not exist: not a pod with a token for this service`,
    '  --login was not given: add it to log in with the browser',
  ].join('\n')
}

/**
 * Reads a token. Files with variables often leave something around it: that is cut off, and named if it is more than
 * white space. @param source names the place of the token @throws WrongUsage without the token in it
 */
function readToken(text, source) {
  const token = text.replaceAll(/^[\s"']+|[\s"']+$/g, '').replace(/^bearer +/i, '')
  if (token === '') return ''
  const [around] = text.replace(token, '').match(/[\r"'\uFEFF]/) ?? []
  if (around !== undefined)
    process.stderr.write(`${source} has ${CHARACTERS[around]} before or after the token; it is ignored.\n`)
  const [inside] = token.match(/[^!-~]/u) ?? []
  if (inside !== undefined) {
    const code = inside.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')
    throw new WrongUsage(
      `${source} contains invalid characters: ${CHARACTERS[inside] ?? `U+${code}`} inside the token. Copy it again as one word`,
    )
  }
  if (token.startsWith('fkm_'))
    throw new WrongUsage(`${source} is a management token (fkm_…): set it to a bootstrap token (fkb_…)`)
  if (isForItsCluster(claimsOf(token)))
    throw new WrongUsage(
      `${source} is a service-account token for the API of its Kubernetes cluster; it is not sent. Use a projected token whose audience is the one in the service's llms.txt`,
    )
  return token
}

/** @throws WrongUsage if the file cannot be read now */
function tokenInFile(file, nameOf) {
  const read = () => {
    let text
    try {
      text = readFileSync(file, 'utf8')
    } catch (error) {
      throw new WrongUsage(`${file} with the token cannot be read (${error.code})`)
    }
    const token = readToken(text, file)
    if (token === '') throw new WrongUsage(`${file} has no token in it`)
    return token
  }
  let unused = read()
  return {
    caller: isJwt(unused) ? resolve(file) : unused,
    canRenew: true,
    awaits: `Waiting for another token in ${file}.`,
    async token() {
      try {
        return unused ?? read()
      } catch (error) {
        // A file that is being replaced is there again at the next try.
        throw new Passing(`${error.message}.`)
      } finally {
        unused = undefined
      }
    },
    nameOf,
  }
}

/** Requests a token for each try from the endpoint that GitHub Actions offers to a job. */
function gitHubActions(options, endpoint, bearer) {
  let audience
  return {
    caller: 'GitHub Actions',
    canRenew: true,
    async token() {
      audience ??= await audienceOf(options)
      const url = new URL(endpoint)
      url.searchParams.set('audience', audience)
      const answer = await ask(url, { headers: { authorization: `Bearer ${bearer}` } })
      const token = answer.content?.value
      if (answer.status === 200 && typeof token === 'string' && isJwt(token)) return token
      const problem = `GitHub Actions returned no identity token (HTTP ${answer.status}).`
      if (answer.status === 200 || isPassing(answer)) throw new Passing(problem)
      throw new Refused(`${problem}\nCheck that the job has "permissions: { id-token: write }".`)
    },
    nameOf: (token) => `GitHub Actions (repository ${visible(claimsOf(token)?.repository)})`,
  }
}

/**
 * Returns the audience that the service wants. A token for it opens what accepts this audience, so a service cannot
 * name another's: it must be a URL of its own, or be known from the script or its caller. @throws Refused, Passing
 */
async function audienceOf({ url, audience }) {
  if (audience) return audience
  const { issuer, identity_token_audience: wanted = issuer } = await readMetadata(url)
  const isOwn = URL.canParse(wanted) && new URL(wanted).origin === new URL(url).origin
  if (isOwn || isLoopback(url) || (url === SERVICE_URL && wanted === AUDIENCE)) return wanted
  throw new Refused(
    `${url} asks for an identity token for ${visible(wanted)}, which may be another service.\nIf its operator says that this is right, add: --audience '${visible(wanted)}'`,
  )
}

function isLoopback(url) {
  return /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(new URL(url).hostname)
}

function isJwt(token) {
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)
}

/** Returns the claims of a JWT, which are not verified here; `undefined` for another token. */
function claimsOf(token) {
  return isJwt(token) ? parse(Buffer.from(token.split('.')[1], 'base64url').toString()) : undefined
}

/** Recognizes the token that each pod has: one of Kubernetes for the API of its own cluster. */
function isForItsCluster(claims) {
  const { iss, aud } = claims ?? {}
  if (iss === 'kubernetes/serviceaccount') return true
  return (
    claims?.['kubernetes.io'] !== undefined &&
    [aud].flat().some((one) => one === iss || /^https:\/\/kubernetes\.default\b/.test(one))
  )
}

function kindOf(token) {
  if (!isJwt(token)) return 'a bootstrap token'
  const { iss, sub } = claimsOf(token) ?? {}
  return `an identity token of ${visible(iss)} for ${visible(sub)}`
}

function nameOfServiceAccount(token) {
  const account = String(claimsOf(token)?.sub).replace(/^system:serviceaccount:/, '')
  return `Kubernetes (service account ${visible(account.replace(':', '/'))})`
}

/** Returns text for a terminal: a claim may have anything in it. */
function visible(text) {
  return String(text)
    .replaceAll(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '\uFFFD')
    .slice(0, 200)
}

/** Returns what the service says about identity tokens and logins (RFC 8414). @throws Refused, Passing */
async function readMetadata(url) {
  const answer = await ask(`${url}/.well-known/oauth-authorization-server`)
  const { status, content } = answer
  if (status === 200 && typeof content?.issuer === 'string' && typeof content.token_endpoint === 'string')
    return content
  if (status === 404)
    throw new Refused(
      `${url} takes neither identity tokens nor logins.\nAsk the operator for a bootstrap token (fkb_…), and set FIRSTKEY_TOKEN to it.`,
    )
  throw failureOf(answer)
}

/** The public client of the service that stands for this script. */
const CLIENT_ID = 'firstkey'

/**
 * Lets a person log in, and returns the token of the login: authorization code with PKCE (RFC 6749, 7636, 8252).
 * @throws Refused
 */
async function logIn({ url, maxWaitMs, 'no-browser': withoutBrowser }) {
  const metadata = await retry(maxWaitMs, () => readMetadata(url))
  const { authorization_endpoint: endpoint = '' } = metadata
  if (!/^https?:$/.test(URL.canParse(endpoint) ? new URL(endpoint).protocol : ''))
    throw new Refused(
      `${url} offers no login.\nAsk the operator for a bootstrap token (fkb_…), and set FIRSTKEY_TOKEN to it.`,
    )
  const verifier = randomBytes(32).toString('base64url')
  const state = randomBytes(32).toString('base64url')
  const login = {
    state,
    issuer: metadata.issuer,
    addressFor(redirectUri) {
      const address = new URL(endpoint)
      for (const [name, value] of Object.entries({
        response_type: 'code',
        client_id: CLIENT_ID,
        redirect_uri: redirectUri,
        code_challenge: createHash('sha256').update(verifier).digest('base64url'),
        code_challenge_method: 'S256',
        state,
      }))
        address.searchParams.set(name, value)
      return address.href
    },
    redeem: (code, redirectUri) =>
      retry(maxWaitMs, () => redeem(metadata.token_endpoint, code, redirectUri, verifier)),
  }
  // A timer holds at most this.
  const signal = AbortSignal.timeout(Math.min(maxWaitMs, 2 ** 31 - 1))
  try {
    return await (withoutBrowser || !hasBrowser()
      ? logInWithCode(login, signal)
      : logInWithBrowser(login, signal))
  } catch (error) {
    if (error !== signal.reason) throw error
    throw new Refused(
      `Gave up: no login within --max-wait (${maxWaitMs / 1000} s).\nRun the same command again.`,
    )
  }
}

/** Exchanges a code for a token (RFC 6749, section 4.1.3). @throws Refused, Passing */
async function redeem(endpoint, code, redirectUri, verifier) {
  const answer = await ask(endpoint, {
    method: 'POST',
    headers: { accept: 'application/json' },
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      client_id: CLIENT_ID,
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
    }),
  })
  const token = answer.content?.access_token
  if (answer.status === 200 && typeof token === 'string') return token
  throw failureOf(answer)
}

/** Reports whether a browser on this computer can reach this process. */
function hasBrowser() {
  const { env, platform } = process
  if (env.SSH_CONNECTION || env.SSH_TTY) return false
  return platform === 'darwin' || platform === 'win32' || Boolean(env.DISPLAY || env.WAYLAND_DISPLAY)
}

function openBrowser(address) {
  const openers = { darwin: ['open'], win32: ['rundll32', 'url.dll,FileProtocolHandler'] }
  const [command, ...args] = openers[process.platform] ?? ['xdg-open']
  // Without a shell: the address is one argument, whatever is in it.
  const opener = spawn(command, [...args, address], { stdio: 'ignore', detached: true })
  const explain = () =>
    process.stderr.write(
      'No browser was opened. Open the address on this computer; for a browser on another one, stop this (Ctrl-C) and add --no-browser.\n',
    )
  opener.on('error', explain).on('exit', (code) => code !== 0 && explain())
  opener.unref()
}

/** Logs in with a browser on this computer: it brings the code to a loopback address (RFC 8252, section 7.3). */
async function logInWithBrowser(login, signal) {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const host = `127.0.0.1:${server.address().port}`
  const redirectUri = `http://${host}/callback`
  const address = login.addressFor(redirectUri)
  const callback = nextCallback(server, host, login.state, signal)
  process.stderr.write(
    `Log in with the browser that opens now. If none does, open this address on this computer:\n\n  ${address}\n\n`,
  )
  openBrowser(address)
  try {
    const { query, show } = await callback
    try {
      const token = await login.redeem(codeOf(query, login.issuer), redirectUri)
      await show(200, 'You are logged in', 'The script in your terminal continues. You can close this page.')
      return token
    } catch (error) {
      await show(400, 'The login failed', 'The terminal says why. You can close this page.')
      throw error
    }
  } finally {
    server.close()
    // A browser opens more connections than it uses.
    server.closeAllConnections()
  }
}

/** Waits for the one response with our state. Everything else that arrives is turned away. */
function nextCallback(server, host, state, signal) {
  return new Promise((accept, reject) => {
    let isOver = false
    signal.addEventListener('abort', () => reject(signal.reason))
    server.on('request', (request, response) => {
      const show = (...page) => sendPage(response, ...page)
      // Another name for this address may be that of a foreign page (DNS rebinding).
      if (request.headers.host !== host) return void show(421, 'Wrong address', `This is ${host}.`)
      const [path, search] = request.url.split('?')
      const query = new URLSearchParams(search)
      if (path !== '/callback') return void show(404, 'Not found', 'There is nothing here.')
      if (request.method !== 'GET') return void show(405, 'Wrong method', 'Only GET is allowed here.')
      if (query.get('state') !== state)
        return void show(400, 'Not your login', 'This is not the login that the script waits for.')
      if (isOver) return void show(400, 'This login is over', 'The terminal has its result.')
      isOver = true
      accept({ query, show })
    })
  })
}

/** Sends a page, and resolves when it has left. */
async function sendPage(response, status, title, text) {
  if (response.destroyed) return
  const sent = new Promise((done) => response.on('close', done))
  response
    .writeHead(status, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      connection: 'close',
    })
    .end(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>:root { color-scheme: light dark; font: 1.1rem/1.5 system-ui, sans-serif } main { max-width: 32rem; margin: 15vh auto; padding: 0 1rem }</style>
<main><h1>${title}</h1><p>${text}</p></main>
</html>
`)
  await sent
}

/** Returns the code in an authorization response, if it is one of the issuer (RFC 9207). @throws Refused */
function codeOf(query, issuer) {
  const [error, description, iss, code] = ['error', 'error_description', 'iss', 'code'].map((name) =>
    query.get(name),
  )
  if (iss !== issuer)
    throw new Refused(`The login came back from ${visible(iss)} and not from ${issuer}: it is not used.`)
  if (error !== null)
    throw new Refused(`The login failed: ${visible(description ?? error)} (${visible(error)})`)
  if (!code) throw new Refused('The login came back without a code.')
  return code
}

/** Logs in with a browser anywhere: the service shows the code, and the person enters it here. */
async function logInWithCode(login, signal) {
  const redirectUri = `${login.issuer}/connect/code`
  const input = openTerminal()
  // A code may be longer than a line that the terminal itself would edit, so this process does.
  const lines = createInterface({ input, output: process.stderr, terminal: input.isTTY === true, signal })
  lines.on('SIGINT', () => process.emit('SIGINT'))
  const prompt = (text) => {
    process.stderr.write(`${text}\n`)
    lines.prompt()
  }
  lines.setPrompt('Code: ')
  prompt(
    `Open this address in a browser, log in, and enter the code that it shows:\n\n  ${login.addressFor(redirectUri)}\n`,
  )
  try {
    for await (const line of lines) {
      const code = line.trim()
      // Without a terminal, what arrives is not shown.
      if (!lines.terminal) process.stderr.write('\n')
      try {
        if (code !== '') return await login.redeem(code, redirectUri)
        prompt('No code was entered.')
      } catch (error) {
        if (error.code !== 'invalid_grant') throw error
        prompt(
          `${error.message.split('\n')[0]}\nCopy the code again, or open the address again for another one.`,
        )
      }
    }
  } finally {
    lines.close()
    input.destroy()
  }
  process.stderr.write('\n')
  signal.throwIfAborted()
  throw new Refused('The input ended before a code was entered.')
}

/** Returns where a person types: the terminal itself if the standard input is this script. @throws Refused */
function openTerminal() {
  const isScript = process.argv[1] === undefined || process.argv[1] === '-'
  if (!isScript) return process.stdin
  try {
    return new ReadStream(openSync('/dev/tty', 'r'))
  } catch {
    throw new Refused('There is no terminal to read the code from: save the script to a file, and run that.')
  }
}

/**
 * Returns the Idempotency-Key of this request, kept in a file until the request has succeeded or failed for good. `save`
 * keeps the token of a login with it: the response is only for that token. `isSent`: the outcome may be unknown.
 * @throws WrongUsage
 */
function keepKey(url, caller, body, folder) {
  const name = createHash('sha256').update(`${url}\n${caller}\n${body}`).digest('hex').slice(0, 16)
  const file = join(folder, `.firstkey-${name}`)
  const kept = {
    ...readKept(file),
    save(token) {
      kept.token = token
      const { key, at } = kept
      writeFileSync(file, JSON.stringify({ key, at, token }), { mode: 0o600 })
    },
    forget: () => rmSync(file, { force: true }),
  }
  try {
    kept.save(kept.token)
  } catch (error) {
    throw new WrongUsage(
      `the Idempotency-Key cannot be kept in ${folder} (${error.code}): run the script in a folder that you can write`,
    )
  }
  return kept
}

function readKept(file) {
  try {
    const { key, at, token } = JSON.parse(readFileSync(file, 'utf8'))
    // The service remembers a key for a day; an hour less leaves time for the retries.
    if (Date.now() - at < 23 * 3_600_000) return { key, at, token, isSent: true }
  } catch {
    // No key is kept.
  }
  return { key: randomUUID(), at: Date.now(), isSent: false }
}

/** Calls `attempt` until it does not throw {@link Passing} any more. @throws Refused after `maxWaitMs` */
async function retry(maxWaitMs, attempt) {
  let giveUpAt
  for (let pause = 0.5; ; pause = Math.min(pause * 2, 15)) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof Passing)) throw error
      const waitS = error.waitS ?? pause * (0.5 + Math.random())
      // The time of the first attempt does not count: a person may have logged in.
      giveUpAt ??= Date.now() + maxWaitMs
      if (Date.now() + waitS * 1000 > giveUpAt)
        throw new Refused(
          `${error.message}\nGave up: the next retry would exceed --max-wait (${maxWaitMs / 1000} s).\nRun the same command again later.`,
        )
      process.stderr.write(`${error.message.split('\n')[0]} Retrying in ${Math.ceil(waitS)} s.\n`)
      await sleep(waitS * 1000)
    }
  }
}

/** Sends the request and retries it until the outcome is final. @throws Refused */
function register({ url, maxWaitMs }, identity, body, kept) {
  let isNamed = false
  return retry(maxWaitMs, async () => {
    const token = await identity.token(kept)
    if (!isNamed) process.stderr.write(`identity: ${identity.nameOf(token)}\n`)
    isNamed = true
    kept.isSent = true
    const answer = await ask(`${url}/register`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/json',
        'idempotency-key': kept.key,
        // Waits until the key works, if the service can probe the API.
        prefer: 'wait=20',
      },
      body,
    })
    if (answer.status === 201 && isCredential(answer.content)) return answer.content
    const failure = failureOf(answer)
    const isOver = failure.code === 'token_expired' || failure.code === 'token_replayed'
    if (!isOver || !(isJwt(token) || kept.token !== undefined)) throw failure
    if (identity.canRenew) {
      if (kept.token !== undefined) kept.save(undefined)
      const [reason] = failure.message.split('\n')
      throw new Passing(identity.awaits ? `${reason} ${identity.awaits}` : failure.message)
    }
    // Another token continues the same request: its Idempotency-Key stays.
    failure.isFinal = false
    throw failure
  })
}

/**
 * Sends one HTTP request, and returns the status, the seconds of `Retry-After`, and the content if it is JSON.
 * @throws Passing, or Refused if no retry can succeed
 */
async function ask(url, request = {}) {
  try {
    const answer = await fetch(url, { ...request, signal: AbortSignal.timeout(35_000) })
    const content = parse(await answer.text())
    return { status: answer.status, retryAfter: Number(answer.headers.get('retry-after')), content }
  } catch (error) {
    const reason = error.cause?.code ?? error.cause?.message ?? error.name
    const problem = `${new URL(url).origin} cannot be reached (${reason}).${ignoresProxy() ? PROXY_HINT : ''}`
    // Node.js refuses to connect to this port, so a retry cannot succeed.
    throw reason === 'bad port' ? new Refused(problem) : new Passing(problem)
  }
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

/** Returns the error for a response that is not the wanted one: {@link Passing} if a retry may succeed. */
function failureOf({ status, retryAfter, content }) {
  const isOurs = isProblem(content)
  const isFinal = isOurs && !content.retryable
  const message = describe(status, content)
  if (!isFinal && (isOurs || isPassing({ status })))
    return Object.assign(new Passing(message), retryAfter > 0 ? { waitS: retryAfter } : {})
  return Object.assign(new Refused(message), { isFinal, code: content?.code ?? content?.error })
}

function describe(status, content) {
  if (status === 201) return 'The response is damaged.\nRun the same command again to get the same key.'
  // The token endpoint has the errors of RFC 6749.
  if (typeof content?.error === 'string')
    return [`${content.error_description ?? 'The request was refused'} (${content.error})`, content.next_step]
      .filter(Boolean)
      .join('\n')
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
  const { name, description, plan, out, url } = options
  const identity = findIdentity(options)
  const body = JSON.stringify({ name, description, plan })
  const target = out === undefined ? undefined : reserve(options)
  let kept
  for (const [signal, code] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])
    process.once(signal, () => {
      // The Idempotency-Key stays in its file: the next run gets the same key.
      target?.release()
      if (kept?.isSent === false) kept.forget()
      process.exit(code)
    })
  let credential
  try {
    kept = keepKey(url, identity.caller, body, out === undefined ? process.cwd() : dirname(resolve(out)))
    credential = await register(options, identity, body, kept)
  } catch (error) {
    target?.release()
    if (error.isFinal || kept?.isSent === false) kept.forget()
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
