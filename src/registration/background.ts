import { randomBase62 } from '../auth/secret.ts'
import { endDue, leaveEndings } from './end.ts'
import { type RecoverDeps, recover } from './recover.ts'

export interface Background {
  /** Stops; resolves when what was running has ended. */
  stop(): Promise<void>
}

/**
 * Renews the leases of what this process works on, recovers what others left behind, and deletes the keys whose time is
 * over, now and again and again.
 */
export function startBackground(deps: RecoverDeps): Background {
  const { leases, log, timing } = deps
  const stopping = new AbortController()
  const owner = randomBase62(20)
  const renewing = repeat(timing.renew, () => leases.renew())
  const recovering = repeat(timing.recover, async () => {
    await recover(deps, stopping.signal)
  })

  const ending = repeat(timing.end, () => endDue(deps, owner, stopping.signal))

  function repeat(ms: number, task: () => Promise<void>): Background {
    let running = Promise.resolve()
    let stopped = false
    let timer: NodeJS.Timeout | undefined
    const round = () => {
      running = task()
        .catch((err: unknown) => log.error({ err }, 'background work failed'))
        .then(() => {
          if (!stopped) timer = setTimeout(round, ms).unref()
        })
    }
    round()
    return {
      async stop() {
        stopped = true
        clearTimeout(timer)
        await running
      },
    }
  }

  return {
    async stop() {
      stopping.abort()
      await Promise.all([renewing.stop(), recovering.stop(), ending.stop()])
      await leaveEndings(deps, owner)
    },
  }
}
