import { ServiceError } from '../../errors.ts'
import type { Registration } from '../../store/records.ts'
import { forgetOld } from '../idempotency/forget-old.ts'
import { countWork } from './count-work.ts'
import { deleteDueKeys } from './delete-keys.ts'
import { createLeaderLease } from './leader-lease.ts'
import { type PurgeDeps, purgeAudit, purgeProofs } from './purge.ts'
import { type RecoverDeps, recover } from './recover.ts'
import { type SettleDeps, settleDoubts } from './settle-doubts.ts'
import { switchDueKeys } from './switch-keys.ts'

export interface Scheduler {
  /** Stops all jobs. Resolves when the running ones have ended. */
  stop(): Promise<void>
}

/** The jobs of a process. */
export interface BackgroundWork extends Scheduler {
  /** Reports whether this process is the leader. */
  holdsDuty(): boolean
}

/**
 * Starts the jobs, each repeated at its own interval. Every process renews the leases of its own work. The leader, one
 * process of all that share the store, also recovers what dead processes left, settles doubts, deletes keys that are due,
 * disables the keys of suspended registrations, forgets old idempotency keys, purges old audit entries, proofs and access
 * tokens, and counts for the meter if there is one. The upkeep of the pool, if there is one, runs in every process. A job that fails is logged and repeated.
 */
export function startScheduler(deps: RecoverDeps & SettleDeps & PurgeDeps): BackgroundWork {
  const { clockCheck, leases, log, meter, pool, store, timing } = deps
  const reported = new Set<string>()
  const stopping = new AbortController()
  const leaderLease = createLeaderLease(deps)
  const whileLeading = (job: () => Promise<unknown>) => async () => {
    if (await leaderLease.isHeld()) await job()
  }
  const jobs = [
    repeat(timing.renew, () => leases.renew()),
    repeat(
      timing.recover,
      whileLeading(async () => {
        // If the clock was set ahead, the leases of this process seem expired, and recovery would take over its own work.
        await leases.renew()
        reportLeft((await recover(deps, stopping.signal)).left)
      }),
    ),
    repeat(
      timing.settle,
      whileLeading(() => settleDoubts(deps, stopping.signal)),
    ),
    repeat(timing.end, () => deleteDueKeys(deps, leaderLease, stopping.signal)),
    repeat(timing.end, () => switchDueKeys(deps, leaderLease, stopping.signal)),
    repeat(
      timing.forget,
      whileLeading(async () => {
        // Recovery undoes what is forgotten and was never answered.
        const now = await clockCheck.certainNow()
        if (now !== undefined) await forgetOld(deps, now)
      }),
    ),
    repeat(
      timing.purge,
      whileLeading(async () => {
        await purgeAudit(deps, stopping.signal)
        await purgeProofs(deps, stopping.signal)
      }),
    ),
    pool === null ? repeat(timing.poolLease, whileLeading(cleanUp)) : pool.start(),
    ...(meter === null ? [] : [repeat(timing.count, countWork(deps, meter, leaderLease, stopping.signal))]),
  ]

  /** Deletes the keys that processes with a pool left, when no such process runs any more. */
  async function cleanUp(): Promise<void> {
    if ((await store.listPoolKeys()).length === 0) return
    // Loaded only here: most stores have no keys of a pool.
    const { cleanUpPool } = await import('../pool/clean-up.ts')
    await cleanUpPool(deps, stopping.signal)
  }

  function reportLeft(left: readonly Registration[]): void {
    const news = left.filter(({ id }) => !reported.has(id)).map(({ id }) => id)
    if (news.length === 0) return
    for (const id of news) reported.add(id)
    log.warn(
      { registration_ids: news.slice(0, 20), count: news.length },
      'registrations were pending in a backup, or for hours, and may have been answered; run: firstkey registrations recover',
    )
  }

  function repeat(ms: number, job: () => Promise<unknown>): Scheduler {
    let running = Promise.resolve()
    let stopped = false
    let timer: NodeJS.Timeout | undefined
    const round = () => {
      running = job()
        .catch((err: unknown) => {
          if (!isAlreadyLogged(err)) log.error({ err }, 'background job failed')
        })
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
    holdsDuty: () => leaderLease.holds(),
    async stop() {
      stopping.abort()
      await Promise.all(jobs.map((job) => job.stop()))
      await leaderLease.release()
    },
  }
}

const isAlreadyLogged = (err: unknown) => err instanceof ServiceError && err.alreadyLogged
