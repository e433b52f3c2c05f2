import { JOBS_LEASE } from '../../store/upkeep.ts'
import { endDue } from './delete-keys.ts'
import { createDuty } from './leader-lease.ts'
import { type PurgeDeps, purgeAudit } from './purge-audit.ts'
import { type RecoverDeps, recover } from './recover.ts'

export interface Background {
  /** Stops; resolves when what was running has ended. */
  stop(): Promise<void>
}

/**
 * Renews the leases of what this process works on. And, in one process of all that share the store: recovers what others
 * left behind, deletes the keys whose time is over, and removes old audit entries. Now and again and again.
 */
export function startBackground(deps: RecoverDeps & PurgeDeps): Background {
  const { leases, log, timing } = deps
  const stopping = new AbortController()
  const duty = createDuty(deps, JOBS_LEASE)
  const work = [
    repeat(timing.renew, () => leases.renew()),
    repeat(timing.recover, async () => {
      if (await duty.isMine()) await recover(deps, stopping.signal)
    }),
    repeat(timing.end, () => endDue(deps, duty, stopping.signal)),
    repeat(timing.forget, async () => {
      if (await duty.isMine()) await deps.store.forgetIdempotency(deps.clock() - timing.idempotency)
    }),
    repeat(timing.purge, async () => {
      if (await duty.isMine()) await purgeAudit(deps, stopping.signal)
    }),
  ]

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
      await Promise.all(work.map((one) => one.stop()))
      await duty.leave()
    },
  }
}
