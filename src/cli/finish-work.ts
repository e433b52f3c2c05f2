import { setTimeout as sleep } from 'node:timers/promises'
import type { Deps } from '../deps.ts'
import { createLeaderLease, type LeaderLease } from '../registration/jobs/leader-lease.ts'
import { note } from './output.ts'

/** The interval between two looks at the store (ms). */
const LOOK_MS = 1_000
/** The most items that a look finds unfinished before it ends: it must not read thousands every second. */
const LOOK_AHEAD = 20
/** Beside a server that makes no progress for this long (ms), a command gives up waiting. */
const STALLED_MS = 30_000

/** Work that is recorded in the store, so that the jobs of any process can do it. */
export interface RecordedWork<T> {
  /** In the order in which the jobs take them, as far as that is known. */
  readonly items: readonly T[]
  /** The noun for the items in messages, in the plural: "keys". */
  readonly name: string
  isDone(item: T): Promise<boolean>
  /** Called for each item that is done, with their number so far. */
  onDone?(item: T, count: number): void
  /** Tries everything that is unfinished once. Ends early if this process loses the leader lease, or `stop` aborts. */
  round(unfinished: readonly T[], leaderLease: LeaderLease, stop: AbortSignal): Promise<unknown>
  /** Ends the waiting, not the work. Left out: SIGINT does. */
  readonly stop?: AbortSignal
}

/** The result of {@link finishWork}. `interrupted`: the user stopped the command before the work was done. */
export interface Finish<T> {
  readonly unfinished: readonly T[]
  readonly interrupted: boolean
}

/**
 * Waits until recorded work is done. Where a server runs, its jobs do it, within the quotas that it shares among
 * registrations and jobs, and this process only looks. Where none holds the leader lease, or the one that held it dies, this
 * process takes the lease and does the work itself. SIGINT, or the work's own signal, ends the waiting, not the work.
 * @returns what is unfinished: a round of this process, or {@link STALLED_MS} beside a server, brought no progress
 * @throws ServiceError of the store, and what `round` throws
 */
export async function finishWork<T>(deps: Deps, work: RecordedWork<T>): Promise<Finish<T>> {
  const { items, name, isDone, onDone } = work
  const leaderLease = createLeaderLease(deps)
  const stop = new AbortController()
  const interrupt = () => stop.abort()
  let unfinished = items
  const look = async (most: number) => {
    const left: T[] = []
    for (const [i, item] of unfinished.entries()) {
      if (left.length === most) {
        left.push(...unfinished.slice(i))
        break
      }
      if (!(await isDone(item))) left.push(item)
      else onDone?.(item, items.length - unfinished.length + i + 1 - left.length)
    }
    unfinished = left
  }

  if (work.stop === undefined) process.once('SIGINT', interrupt)
  else if (work.stop.aborted) interrupt()
  else work.stop.addEventListener('abort', interrupt, { once: true })
  let round: Promise<unknown> | undefined
  try {
    let [leftBefore, progressAt] = [Number.POSITIVE_INFINITY, performance.now()]
    let isBesideServer = false
    for (;;) {
      const { length } = unfinished
      await look(LOOK_AHEAD)
      if (unfinished.length < length) progressAt = performance.now()
      if (unfinished.length === 0 || stop.signal.aborted) break
      if (round === undefined && (await leaderLease.isHeld())) {
        await look(Number.POSITIVE_INFINITY)
        if (unfinished.length >= leftBefore) break
        leftBefore = unfinished.length
        const running = work.round(unfinished, leaderLease, stop.signal).finally(() => {
          round = undefined
        })
        round = running
      } else if (round === undefined) {
        if (!isBesideServer) {
          const hint = work.stop === undefined ? '; Ctrl-C stops only this command' : ''
          note(`A running server works on the ${name}${hint}.`)
        }
        isBesideServer = true
        if (performance.now() - progressAt > STALLED_MS) break
      }
      const pause = sleep(LOOK_MS, undefined, { signal: stop.signal }).catch(() => undefined)
      await (round === undefined ? pause : Promise.race([round, pause]))
    }
    await look(Number.POSITIVE_INFINITY)
    const interrupted = stop.signal.aborted && unfinished.length > 0
    if (interrupted) {
      const who = isBesideServer
        ? 'the running server'
        : 'a server, or "firstkey registrations recover --yes",'
      note(`Stopped. Of the ${name}, ${unfinished.length} are left; ${who} finishes them.`)
      process.exitCode = 130 // As a shell reports a program that SIGINT ended.
    }
    return { unfinished, interrupted }
  } finally {
    process.off('SIGINT', interrupt)
    work.stop?.removeEventListener('abort', interrupt)
    stop.abort()
    await round?.catch(() => undefined)
    await leaderLease.release()
  }
}
