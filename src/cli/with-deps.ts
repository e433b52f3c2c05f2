import { ConfigError, readConfig } from '../config.ts'
import { createDeps, type Deps, type DepsOptions } from '../deps.ts'
import { createLogger } from '../log.ts'
import { createLeaderLease } from '../registration/jobs/leader-lease.ts'
import type { Actor } from '../store/audit.ts'
import { operator, recordCommand } from './operator.ts'
import { noteRestore } from './restore-note.ts'
import { requireShared } from './with-store.ts'

/** The most calls a second to API Gateway of a command beside a running server: the quota belongs to its registrations. */
const CALLS_BESIDE_SERVER = 2

/** The environment has the server's configuration, which {@link withDeps} needs. */
export function isConfigured(): boolean {
  try {
    readConfig(process.env)
    return true
  } catch (error) {
    if (error instanceof ConfigError) return false
    throw error
  }
}

/**
 * Runs a command that needs the store and API Gateway, with the server's configuration, and records it. Logs to stderr.
 * @param work receives whether a server runs on the store
 * @param options.share the part of the configured calls a second that the command takes where no server runs on the store
 */
export async function withDeps(
  work: (deps: Deps, actor: Actor, isServerRunning: boolean) => Promise<void>,
  { share = 1, onCall }: Pick<DepsOptions, 'onCall'> & { readonly share?: number } = {},
): Promise<void> {
  // Commands accept no identity tokens: a fault in that file must not keep an operator from revoking keys. Nor do they fill a pool.
  const config = { ...readConfig(process.env), trustFile: null, pool: new Map() }
  requireShared(config.store)
  const log = createLogger('warn', process.stderr)
  const options = onCall === undefined ? {} : { onCall }
  let deps = await createDeps({ ...config, callsPerSecond: CALLS_BESIDE_SERVER }, log, options)
  const isServerRunning = await isLeaderRunning(deps)
  if (!isServerRunning) {
    await deps.close()
    const callsPerSecond = Math.ceil(config.callsPerSecond * share)
    deps = await createDeps({ ...config, callsPerSecond }, log, options)
  }
  const actor = operator()
  // If a lease expired during a long command, a server would recover the registration and undo its work.
  const renewing = setInterval(() => void deps.leases.renew().catch(() => undefined), deps.timing.renew)
  try {
    await recordCommand(deps.store, actor)
    await noteRestore(deps.store)
    await work(deps, actor, isServerRunning)
  } finally {
    clearInterval(renewing)
    await deps.close()
  }
}

/** Reports whether a server, or another command, holds the leader lease. */
async function isLeaderRunning(deps: Deps): Promise<boolean> {
  // Servers go by AWS's time: by a clock that is ahead of it, a lease that is held would seem expired, and be taken.
  await deps.clockCheck.certainNow()
  const leaderLease = createLeaderLease(deps)
  try {
    return !(await leaderLease.isHeld())
  } finally {
    await leaderLease.release()
  }
}

/**
 * Rejects work that decides by the clock while the clock is in doubt: what other processes have just begun would seem old.
 * @throws Error with the reason
 */
export async function requireRightClock({ clockCheck }: Pick<Deps, 'clockCheck'>): Promise<void> {
  if ((await clockCheck.certainNow()) !== undefined) return
  const seconds = Math.round(clockCheck.ahead() / 1_000)
  throw new Error(
    seconds === 0
      ? 'AWS does not answer, so the clock cannot be checked, and nothing was changed'
      : `the clock of this machine is ${Math.abs(seconds)} seconds ${seconds > 0 ? 'ahead of' : 'behind'} that of AWS, so nothing was changed: set the clock and try again`,
  )
}
