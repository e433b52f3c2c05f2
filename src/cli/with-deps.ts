import { readConfig } from '../config.ts'
import { createDeps, type Deps } from '../deps.ts'
import { createLogger } from '../log.ts'
import type { Actor } from '../store/audit.ts'
import { operator, recordCommand } from './operator.ts'

/**
 * Runs a command that needs API Gateway too, and records it: with the server's own configuration, its log on stderr.
 */
export async function withDeps(work: (deps: Deps, actor: Actor) => Promise<void>): Promise<void> {
  const deps = createDeps(readConfig(process.env), createLogger('warn', process.stderr))
  const actor = operator()
  try {
    await recordCommand(deps.store, actor)
    await work(deps, actor)
  } finally {
    await deps.close()
  }
}
