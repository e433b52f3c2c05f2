import { setTimeout as sleep } from 'node:timers/promises'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import { codeOf } from '../../errors.ts'
import type { Registration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import type { LeaderLease } from './leader-lease.ts'

/** How many keys are looked for at once. */
const ROUND = 100
/** How many deletions may be under way: one that hangs must not hold up the others. */
const AT_ONCE = 4

export type DeleteKeysDeps = Pick<
  RegistrationDeps,
  'store' | 'clock' | 'timing' | 'log' | 'lowPriorityApiGateway'
>

/**
 * One round: deletes the keys whose time is over, expired, rotated or revoked, and not too fast. What
 * cannot be deleted stays `ending`, with the reason, and is tried again.
 * @param leaderLease whoever has it goes on alone
 * @param stop ends the round after the key it is at
 */
export async function deleteDueKeys(
  deps: DeleteKeysDeps,
  leaderLease: LeaderLease,
  stop?: AbortSignal,
): Promise<void> {
  const { store, clock, timing, lowPriorityApiGateway } = deps
  if (!(await leaderLease.isHeld())) return
  const running = new Set<Promise<void>>()
  try {
    for (;;) {
      await store.startDueEndings(clock(), ROUND)
      const due = await store.listDue(clock(), ROUND)
      for (const registration of due) {
        if (running.size >= AT_ONCE) await Promise.race(running)
        if (stop?.aborted || !(await leaderLease.isHeld())) return
        const deleting = deleteKey(deps, lowPriorityApiGateway, registration)
          .catch(() => undefined) // Recorded, and in the log.
          .finally(() => running.delete(deleting))
        running.add(deleting)
        await sleep(timing.endSpacing)
      }
      await Promise.all(running)
      if (due.length < ROUND) return
    }
  } finally {
    await Promise.all(running)
  }
}

/**
 * Deletes the key of a registration that is `ending`, and records it as `ended`. Safe to repeat, in any number of
 * processes: a key that is gone is fine.
 * @throws ServiceError why it could not be done now; it is tried again by itself
 */
export async function deleteKey(
  { store, clock, timing, log }: Omit<DeleteKeysDeps, 'lowPriorityApiGateway'>,
  apiGateway: ApiGateway,
  { id, apiKeyId, tokenId, endReason }: Registration,
): Promise<void> {
  const fields = { registration_id: id, token_id: tokenId, api_key_id: apiKeyId, reason: endReason }
  try {
    if (apiKeyId !== null) await apiGateway.deleteKey(apiKeyId, AbortSignal.timeout(timing.undo))
    await store.finishEndings([id], clock())
    log.info(fields, 'key deleted')
  } catch (err) {
    log.error({ ...fields, err }, 'a key could not be deleted yet')
    await store.postponeEnding(id, codeOf(err), clock() + timing.endRetry)
    throw err
  }
}
