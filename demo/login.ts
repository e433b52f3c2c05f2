import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import getPort from 'get-port'
import { openHttpBrowser } from '../test/support/http-browser.ts'

/** The account that logs in. */
export const ACCOUNT = {
  login: 'alice',
  password: 'correct horse',
  claims: { name: 'Alice', email: 'alice@example.com', email_verified: true },
}
const SECRET = 'the-secret-of-the-client-firstkey'

/** The variables that would tell the script another identity, or another service. */
const NO_OTHER_IDENTITY = Object.fromEntries(
  ['FIRSTKEY_TOKEN', 'FIRSTKEY_TOKEN_FILE', 'FIRSTKEY_URL', 'ACTIONS_ID_TOKEN_REQUEST_URL'].map((name) => [
    name,
    '',
  ]),
)

/**
 * Starts an identity provider (oidc-provider) at which firstkey is a client, and writes a trust file that lets its people register.
 * @returns `env`: the variables of the service
 */
export async function startIdentityProvider(publicUrl: string, dir: string) {
  const port = await getPort({ port: 5000 })
  const program = join(import.meta.dirname, 'identity-provider.ts')
  const args = [program, String(port), SECRET, `${publicUrl}/connect/callback`]
  const provider = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] })
  const output = provider.stdout.setEncoding('utf8')
  const [first] = await Promise.race([once(output, 'data'), once(provider, 'exit')])
  if (typeof first !== 'string') throw new Error(`the identity provider ended with the exit code ${first}`)
  const issuer = first.trim()
  const trust = `issuers:
  staff:
    kind: oidc
    issuer: ${issuer}
    login: { client_id: firstkey, client_secret_env: OIDC_SECRET }
rules:
  - id: staff
    issuer: staff
    match: { email: ${ACCOUNT.claims.email}, email_verified: true }
    grant: { plans: [free], key_ttl: 24h, max_live: 3, on_repeat: rotate, overlap: 1h }
`
  const file = join(dir, 'trust.yaml')
  writeFileSync(file, trust)
  return {
    issuer,
    trust,
    env: { TRUST_FILE: file, OIDC_SECRET: SECRET },
    close: () => provider.kill(),
  }
}

/**
 * Downloads the registration script and runs it in `dir` with `--login`.
 * @param options.isAttended `true`: a person logs in with a browser; `false`: this process does, over HTTP
 * @param options.signal ends the script
 * @returns the standard output of the script; all else is printed
 */
export async function registerByLogin(
  publicUrl: string,
  dir: string,
  { isAttended, signal }: { isAttended: boolean; signal: AbortSignal },
): Promise<string> {
  writeFileSync(join(dir, 'register.mjs'), await (await fetch(`${publicUrl}/register.mjs`)).text())
  const args = ['register.mjs', '--name', 'acme-agent', '--login', ...(isAttended ? [] : ['--no-browser'])]
  const script = spawn(process.execPath, args, {
    cwd: dir,
    env: { ...process.env, ...NO_OTHER_IDENTITY },
    stdio: [isAttended ? 'inherit' : 'pipe', 'pipe', 'pipe'],
  })
  signal.addEventListener('abort', () => script.kill())
  const { stdin, stdout, stderr } = script
  if (stdout === null || stderr === null) throw new Error('the script has no output')
  const ended = once(script, 'close')
  const output = text(stdout)
  for await (const chunk of stderr.setEncoding('utf8')) {
    const said = String(chunk)
    process.stdout.write(said.replace(/^(?=.)/gm, '   '))
    const [address] = said.match(/http\S+\/connect\/authorize\?\S+/) ?? []
    if (address !== undefined) stdin?.end(`${await logIn(address)}\n`)
  }
  const [exitCode] = await ended
  if (exitCode !== 0) throw new Error(`register.mjs ended with the exit code ${exitCode}`)
  return output
}

/** Logs in as a person with a browser does, and returns the code that the last page shows. */
async function logIn(address: string): Promise<string> {
  const browser = openHttpBrowser()
  const { login, password } = ACCOUNT
  const confirmation = await browser.submit(await browser.get(address), { login, password })
  const last = await browser.submit(confirmation, { decision: 'allow' })
  const [, code] = last.body.match(/<pre id="code"><code>([^<]+)<\/code>/) ?? []
  if (code === undefined) throw new Error(`${last.url} shows no code: ${last.body}`)
  return code
}
