import { setTimeout as sleep } from 'node:timers/promises'
import type { Deps } from '../../deps.ts'
import { ServiceError } from '../../errors.ts'
import { recover } from '../../registration/jobs/recover.ts'
import { mayHaveKey } from '../../registration/lifecycle.ts'
import type { Actor } from '../../store/audit.ts'
import { deleteKeysOf } from '../delete-keys.ts'
import { finishWork } from '../finish-work.ts'
import { note } from '../output.ts'
import { findLeftovers, findRecords, type Leftovers } from './leftovers.ts'

/** Rounds of removal without progress end after this time (ms). A killed process holds its leases for some seconds. */
const STALLED_MS = 30_000
/** The pause between two rounds grows from the first to the last value (ms). */
const FIRST_PAUSE_MS = 500
const LAST_PAUSE_MS = 8_000
const PROGRESS_EVERY = 50

/** The leftovers of a removal. `fault`: the reason why API Gateway could not be asked for all of it. */
export type Remaining = Omit<Leftovers, 'ofOtherStores'> & { readonly fault?: ServiceError }

/**
 * Removes what runs made: revokes the tokens and all registrations, then deletes the keys. A server that
 * runs on the store deletes those of registrations, otherwise this process does; if it dies, a server goes on. Repeats what
 * fails, as long as there is progress.
 * @param stop ends the removal early
 * @param tokenId removes only what the run with this token made
 * @throws ServiceError of the store
 */
export async function removeLeftovers(
  deps: Deps,
  actor: Actor,
  stop: AbortSignal,
  tokenId?: string,
): Promise<Remaining> {
  const { store } = deps
  const { signal } = new AbortController()
  let [left, progressAt] = [Number.POSITIVE_INFINITY, performance.now()]
  /** The lists may show them for a while. */
  const deleted = new Set<string>()
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LAST_PAUSE_MS)) {
    // A store whose lists lag may not show yet what was made last.
    await sleep(store.listingLagMs)
    let found: Remaining
    try {
      const all = await findLeftovers(deps, signal, tokenId)
      found = { ...all, keys: all.keys.filter(({ id }) => !deleted.has(id)) }
    } catch (fault) {
      if (!(fault instanceof ServiceError)) throw fault
      found = { ...(await findRecords(store, tokenId)), keys: [], fault }
    }
    const count = found.tokens.length + found.registrations.length + found.keys.length
    if (count < left) [left, progressAt] = [count, performance.now()]
    const isDone = count === 0 && found.fault === undefined
    if (isDone || performance.now() - progressAt > STALLED_MS) return found
    // Also if it stops then: a server deletes the keys of what is revoked.
    await removeRecords(deps, actor, found, stop)
    if (stop.aborted) return { ...found, ...(await findRecords(store, tokenId)) }
    for (const { id } of found.keys) {
      // The next round finds a key again whose deletion failed.
      const isDeleted = await deps.lowPriorityApiGateway.deleteKey(id, signal).then(
        () => true,
        () => false,
      )
      if (isDeleted) deleted.add(id)
    }
    const isSlow = found.registrations.length > 0 || found.fault !== undefined
    if (isSlow) await sleep(pause, undefined, { signal: stop }).catch(() => undefined)
  }
}

/** Revokes tokens and registrations, and has the keys deleted as far as possible. */
async function removeRecords(
  deps: Deps,
  actor: Actor,
  { tokens, registrations }: Remaining,
  stop: AbortSignal,
): Promise<void> {
  const { store, clock } = deps
  for (const { id } of tokens) await store.revokeToken(id, actor, clock())
  for (const { id } of registrations) await store.revokeRegistration(id, actor, clock())
  await finishWork(deps, {
    items: registrations,
    name: 'keys',
    stop,
    async isDone({ id }) {
      const record = await store.getRegistration(id)
      return record === undefined || !mayHaveKey(record)
    },
    onDone(_, count) {
      if (count % PROGRESS_EVERY === 0) note(`Removed ${count} of ${registrations.length} keys.`)
    },
    async round(unfinished, leaderLease, stopped) {
      const ids = unfinished.map(({ id }) => id)
      await deleteKeysOf(deps, ids, leaderLease, stopped)
      await recover(deps, stopped)
    },
  })
}
