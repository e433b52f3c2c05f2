import { setTimeout as sleep } from 'node:timers/promises'
import type { Deps } from '../deps.ts'
import { deleteKey } from '../registration/jobs/delete-keys.ts'
import type { LeaderLease } from '../registration/jobs/leader-lease.ts'
import type { RecordReader } from '../store/record-reader.ts'

/** A key that a rotation replaced ends by AWS's clock, whose time is cut to seconds: a round waits for it, this long at most (ms). */
const LATE_MS = 3_000
const LOOK_MS = 250

/** Returns `true` if the keys of all these records are deleted. */
export async function areEnded(store: RecordReader, ids: readonly string[]): Promise<boolean> {
  for (const id of ids) if ((await store.getRegistration(id))?.status !== 'ended') return false
  return true
}

/** Deletes the keys of these records, whose end has come, as the jobs of a server do. The reason for a failure is logged, on stderr. */
export async function deleteKeysOf(
  deps: Deps,
  ids: readonly string[],
  leaderLease: LeaderLease,
  stop: AbortSignal,
): Promise<void> {
  const { store, clockCheck, lowPriorityApiGateway } = deps
  for (const id of ids) {
    if (stop.aborted || !(await leaderLease.isHeld())) return
    let record = await store.getRegistration(id)
    for (let waited = 0; record?.status === 'active' && waited <= LATE_MS; waited += LOOK_MS) {
      const endedBy = await clockCheck.certainNow()
      if (endedBy === undefined) break // Only a revoked key is deleted while the clock is in doubt.
      ;[record] = await store.startEndings([id], endedBy)
      if (record !== undefined) break
      await sleep(LOOK_MS, undefined, { signal: stop }).catch(() => undefined)
      record = await store.getRegistration(id)
    }
    if (record?.status === 'ending')
      await deleteKey(deps, lowPriorityApiGateway, record).catch(() => undefined)
  }
}
