import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { Registration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import type { LeaderLease } from './leader-lease.ts'

/** The number of keys that are read at once. */
const PAGE = 100

export type SwitchKeysDeps = Pick<
  RegistrationDeps,
  'store' | 'clock' | 'timing' | 'log' | 'lowPriorityApiGateway'
>

/**
 * Runs one round: disables the keys of suspended registrations in API Gateway, and enables those of resumed ones, where the
 * command that recorded it did not finish. A key that cannot be switched is tried again after `timing.endRetry`.
 * @param leaderLease the round runs only while this process holds it
 * @throws ServiceError of the store
 */
export async function switchDueKeys(
  deps: SwitchKeysDeps,
  leaderLease: LeaderLease,
  stop?: AbortSignal,
): Promise<void> {
  if (!(await leaderLease.isHeld())) return
  for (;;) {
    const due = await deps.store.listSwitches(deps.clock(), PAGE)
    for (const one of due) {
      if (stop?.aborted || !(await leaderLease.isHeld())) return
      await switchKey(deps, deps.lowPriorityApiGateway, one).catch(() => undefined) // The reason is logged.
    }
    if (due.length < PAGE) return
  }
}

/**
 * Disables or enables the key of a registration or rotation in API Gateway, as its record says. Safe to repeat, also in
 * several processes at once: the one that finds the record changed since it was read switches the key again.
 * @returns the id of the key if it no longer exists
 * @throws ServiceError the reason if it fails
 */
export async function switchKey(
  { store, clock, timing, log }: Omit<SwitchKeysDeps, 'lowPriorityApiGateway'>,
  apiGateway: ApiGateway,
  record: Registration,
): Promise<string | undefined> {
  let one: Registration | undefined = record
  let gone: string | undefined
  try {
    while (one !== undefined && one.switchAt !== null) {
      const { id, apiKeyId, suspendedAt, status } = one
      gone = undefined
      if (apiKeyId !== null && status === 'active') {
        const signal = AbortSignal.timeout(timing.undo)
        if (!(await apiGateway.setKeyEnabled(apiKeyId, suspendedAt === null, signal))) gone = apiKeyId
      }
      if (await store.finishSwitch(one)) {
        const fields = { registration_id: id, api_key_id: apiKeyId }
        if (gone !== undefined)
          log.warn(fields, 'key no longer exists, so it was neither disabled nor enabled')
        else log.info(fields, suspendedAt === null ? 'key enabled' : 'key disabled')
        return gone
      }
      one = await store.getRegistration(id)
    }
    return gone
  } catch (err) {
    const { id, apiKeyId, tokenId } = record
    const fields = { registration_id: id, token_id: tokenId, api_key_id: apiKeyId }
    log.error({ ...fields, err }, 'could not disable or enable key; will retry')
    await store.postponeSwitch(id, clock() + timing.endRetry)
    throw err
  }
}
