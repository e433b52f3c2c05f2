import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import getPort from 'get-port'
import { z } from 'zod'
import { endWithThisProcess } from '../end-with-this-process.ts'
import { untilResponding } from '../until-responding.ts'

/**
 * Two ways to run it. Development: an empty database in memory, and Java without its optimizing compiler, which pays off later
 * than such a server lives. Production: its embedded database in a temporary file, and Java as Keycloak configures it.
 */
export type KeycloakMode = 'development' | 'production'

/** Far above the 20 seconds of a start, for a machine that is slow or busy with other things too. */
const START_TIMEOUT_MS = 480_000

export interface Keycloak {
  /** Creates a realm from Keycloak's own description of one, and returns its issuer. */
  createRealm(realm: { readonly realm: string } & Readonly<Record<string, unknown>>): Promise<string>
  /** Creates an initial access token, with which `count` clients can register at the realm of this issuer. */
  createInitialAccessToken(issuer: string, count: number): Promise<string>
  /** Ends it and deletes everything in it. */
  stop(): Promise<void>
}

/**
 * Starts Keycloak with an empty database, on the loopback interface. Resolves when it responds. It ends with this process,
 * except when this process is killed with SIGKILL.
 * @param folder as `installKeycloak` returns it
 * @throws Error with its output if it does not start
 */
export async function startKeycloak(folder: string, mode: KeycloakMode = 'development'): Promise<Keycloak> {
  const port = await getPort({ host: '127.0.0.1' })
  // Another site than 127.0.0.1, as an identity provider is: its redirect is a cross-site request of the browser.
  const url = `http://localhost:${port}`
  const admin = { client_id: 'tests', client_secret: randomUUID() }
  const data = mkdtempSync(join(tmpdir(), 'firstkey-keycloak-'))
  // Clients that register with one initial access token wait for the lock on its row, while the server is still slow for longer
  // than the database's one second.
  const database = `jdbc:h2:file:${join(data, 'keycloak')};NON_KEYWORDS=VALUE;LOCK_TIMEOUT=30000`
  const { command, java } = {
    development: {
      command: ['start-dev', '--db=dev-mem'],
      java: { JAVA_OPTS_KC_HEAP: '-Xms64m -Xmx512m', JAVA_OPTS_APPEND: '-XX:TieredStopAtLevel=1' },
    },
    production: {
      command: [
        ...['start', '--db=dev-file', `--db-url=${database}`],
        ...['--http-enabled=true', '--hostname-strict=false'],
      ],
      java: {},
    },
  }[mode]
  const child = spawn(
    join(folder, 'bin/kc.sh'),
    [...command, '--cache=local', '--http-host=127.0.0.1', `--http-port=${port}`],
    {
      // In a process group of its own: the script runs Java as its child.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        KC_BOOTSTRAP_ADMIN_CLIENT_ID: admin.client_id,
        KC_BOOTSTRAP_ADMIN_CLIENT_SECRET: admin.client_secret,
        ...java,
      },
    },
  )
  const kill = () => {
    // It holds nothing worth keeping, and SIGKILL takes effect at once.
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
      process.kill(-child.pid, 'SIGKILL')
  }
  const forget = endWithThisProcess(kill)
  const exit = once(child, 'exit').finally(forget)
  const stop = async () => {
    kill()
    await exit
    rmSync(data, { recursive: true, force: true })
  }
  try {
    await untilResponding(child, `${url}/realms/master`, {
      ...{ name: 'Keycloak', isUp: ({ ok }) => ok, everyMs: 100, timeoutMs: START_TIMEOUT_MS },
    })
  } catch (error) {
    await stop()
    throw error
  }
  const manage = async (path: string, body: object) => {
    const token = await clientCredentialsToken(`${url}/realms/master`, admin)
    const answer = await fetch(`${url}/admin/realms${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!answer.ok) throw new Error(`Keycloak refused POST ${path}: ${answer.status} ${await answer.text()}`)
    return answer
  }
  return {
    stop,
    async createRealm(realm) {
      await manage('', { enabled: true, ...realm })
      return `${url}/realms/${realm.realm}`
    },
    async createInitialAccessToken(issuer, count) {
      const realm = issuer.slice(issuer.lastIndexOf('/'))
      const answer = await manage(`${realm}/clients-initial-access`, { count, expiration: 86_400 })
      return z.object({ token: z.string() }).parse(await answer.json()).token
    },
  }
}

/** Returns the access token that a client of Keycloak gets for itself. */
export async function clientCredentialsToken(
  issuer: string,
  client: { readonly client_id: string; readonly client_secret: string },
): Promise<string> {
  const body = new URLSearchParams({ grant_type: 'client_credentials', ...client })
  const answer = await fetch(`${issuer}/protocol/openid-connect/token`, { method: 'POST', body })
  return z.object({ access_token: z.string() }).parse(await answer.json()).access_token
}
