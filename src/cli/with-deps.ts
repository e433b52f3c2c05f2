import { readConfig } from '../config.ts'
import { createDeps, type Deps } from '../deps.ts'
import { createLogger } from '../log.ts'

/** Runs a command that needs API Gateway too: with the server's own configuration, its log on stderr. */
export async function withDeps(work: (deps: Deps) => Promise<void>): Promise<void> {
  const deps = createDeps(readConfig(process.env), createLogger('warn', process.stderr))
  try {
    await work(deps)
  } finally {
    await deps.close()
  }
}
