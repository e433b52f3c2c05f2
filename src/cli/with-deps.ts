import { readConfig } from '../config.ts'
import { createDeps, type Deps } from '../deps.ts'
import { createLogger } from '../log.ts'
import type { Actor } from '../store/audit.ts'
import { operator, recordCommand } from './operator.ts'
import { requireShared } from './with-store.ts'

/** Runs a command that needs the store and API Gateway, with the server's configuration, and records it. Logs to stderr. */
export async function withDeps(work: (deps: Deps, actor: Actor) => Promise<void>): Promise<void> {
  const config = readConfig(process.env)
  requireShared(config.store)
  const deps = await createDeps(config, createLogger('warn', process.stderr))
  const actor = operator()
  // If a lease expired during a long command, a server would recover the registration and undo its work.
  const renewing = setInterval(() => void deps.leases.renew().catch(() => undefined), deps.timing.renew)
  try {
    await recordCommand(deps.store, actor)
    await work(deps, actor)
  } finally {
    clearInterval(renewing)
    await deps.close()
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
