import { systemClock } from '../clock.ts'
import { readConfig, type StoreLocation } from '../config.ts'
import { createDeps, type Deps } from '../deps.ts'
import { createLogger } from '../log.ts'
import { createLeaderLease } from '../registration/jobs/leader-lease.ts'
import { defaultTiming } from '../registration/timing.ts'
import type { Actor } from '../store/audit.ts'
import { openStore } from '../store/open.ts'
import { operator, recordCommand } from './operator.ts'
import { noteRestore } from './restore-note.ts'
import { requireShared } from './with-store.ts'

/** The most calls a second to API Gateway of a command beside a running server: the quota belongs to its registrations. */
const CALLS_BESIDE_SERVER = 2

/** Runs a command that needs the store and API Gateway, with the server's configuration, and records it. Logs to stderr. */
export async function withDeps(work: (deps: Deps, actor: Actor) => Promise<void>): Promise<void> {
  const configured = readConfig(process.env)
  requireShared(configured.store)
  const config = (await isServerRunning(configured.store))
    ? { ...configured, callsPerSecond: CALLS_BESIDE_SERVER }
    : configured
  const deps = await createDeps(config, createLogger('warn', process.stderr))
  const actor = operator()
  // If a lease expired during a long command, a server would recover the registration and undo its work.
  const renewing = setInterval(() => void deps.leases.renew().catch(() => undefined), deps.timing.renew)
  try {
    await recordCommand(deps.store, actor)
    await noteRestore(deps.store)
    await work(deps, actor)
  } finally {
    clearInterval(renewing)
    await deps.close()
  }
}

/** Reports whether a server, or another command, holds the leader lease. */
async function isServerRunning(location: StoreLocation): Promise<boolean> {
  const store = await openStore(location)
  const leaderLease = createLeaderLease({ store, clock: systemClock, timing: defaultTiming })
  try {
    return !(await leaderLease.isHeld())
  } finally {
    await leaderLease.release()
    await store.close()
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
