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
