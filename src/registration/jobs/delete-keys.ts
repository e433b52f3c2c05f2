import { setTimeout as sleep } from 'node:timers/promises'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import { failureOf } from '../../errors.ts'
import type { Registration } from '../../store/records.ts'
import type { Store } from '../../store/store.ts'
import type { RegistrationDeps } from '../deps.ts'
import { isUnanswered } from '../lifecycle.ts'
import type { LeaderLease } from './leader-lease.ts'
import { saveUsage } from './save-usage.ts'

/** The number of due keys that are read at once. Few, so that a key which expires meanwhile does not wait for many others. */
const PAGE = 10
/** The maximum number of simultaneous deletions. More than one, so that one that hangs does not delay the others. */
const MAX_RUNNING = 4

export type DeleteKeysDeps = Pick<
  RegistrationDeps,
  'store' | 'clock' | 'clockCheck' | 'timing' | 'log' | 'lowPriorityApiGateway'
>

/**
 * Runs one round of deletions: deletes all keys that are due because they expired, were replaced or were revoked. A
 * deletion starts at least `timing.endSpacing` after the last one. A key that cannot be deleted stays `ending`, with the
 * reason, and is tried again. A registration that expired before a caller received its key is left to recovery, which refunds
 * its use. While the clock is in doubt, only revoked keys are deleted.
 * @param leaderLease the round runs only while this process holds it
 * @param stop ends the round after the deletions that have started
 * @throws ServiceError of the store
 */
export async function deleteDueKeys(
  deps: DeleteKeysDeps,
  leaderLease: LeaderLease,
  stop?: AbortSignal,
): Promise<void> {
  const { store, clock, clockCheck, timing, lowPriorityApiGateway } = deps
  if (!(await leaderLease.isHeld())) return
  const running = new Set<Promise<void>>()
  try {
    for (;;) {
      // A deleted key never works again: a key that ends by the clock is past its end by AWS's clock too.
      const endedBy = (await clockCheck.certainNow()) ?? 0
      const due = await store.listDue(clock(), PAGE, endedBy)
      const received = await leaveUnreceived(store, due)
      for (const registration of await startEndings(store, received, endedBy)) {
        if (running.size >= MAX_RUNNING) await Promise.race(running)
        if (stop?.aborted || !(await leaderLease.isHeld())) return
        const deleting = deleteKey(deps, lowPriorityApiGateway, registration)
          .catch(() => undefined) // The reason is recorded and logged.
          .finally(() => running.delete(deleting))
        running.add(deleting)
        await sleep(timing.endSpacing)
      }
      await Promise.all(running)
      if (due.length < PAGE || received.length === 0) return
    }
  } finally {
    await Promise.all(running)
  }
}

/** Leaves registrations whose keys no caller received to recovery. @returns the others */
async function leaveUnreceived(store: Store, due: readonly Registration[]): Promise<Registration[]> {
  const { left = [], received = [] } = Object.groupBy(due, (one) =>
    one.rotation === null && isUnanswered(one) ? 'left' : 'received',
  )
  for (const { id } of left) await store.displaceUnanswered(id)
  return received
}

/** Moves those that are still `active` to `ending`. @returns all that are `ending` now, in the order of `due` */
async function startEndings(
  store: Store,
  due: readonly Registration[],
  endedBy: number,
): Promise<Registration[]> {
  const active = due.filter(({ status }) => status === 'active').map(({ id }) => id)
  const started = active.length === 0 ? [] : await store.startEndings(active, endedBy)
  const byId = new Map(started.map((one) => [one.id, one]))
  return due.flatMap((one) => (one.status === 'ending' ? one : (byId.get(one.id) ?? [])))
}

/**
 * Deletes the key of a registration or rotation that is `ending`, and records it as `ended`. Safe to repeat, also in
 * several processes at once: a key that no longer exists counts as deleted.
 * @throws ServiceError the reason if it fails; the leader tries again after `timing.endRetry`
 */
export async function deleteKey(
  { store, clock, timing, log }: Pick<DeleteKeysDeps, 'store' | 'clock' | 'timing' | 'log'>,
  apiGateway: ApiGateway,
  record: Registration,
): Promise<void> {
  const { id, apiKeyId, tokenId, endReason } = record
  const fields = { registration_id: id, token_id: tokenId, api_key_id: apiKeyId, reason: endReason }
  try {
    // The registration goes on, and its owner asks for the usage of all its keys.
    if (endReason === 'rotated') await saveUsage({ store, clock, log }, apiGateway, record)
    if (apiKeyId !== null) await apiGateway.deleteKey(apiKeyId, AbortSignal.timeout(timing.undo))
    await store.finishEndings([id], clock())
    log.info(fields, 'key deleted')
  } catch (err) {
    log.error({ ...fields, err }, 'could not delete key; will retry')
    await store.postponeEnding(id, failureOf(err), clock() + timing.endRetry)
    throw err
  }
}
