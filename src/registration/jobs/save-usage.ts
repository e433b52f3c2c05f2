import type { ApiGateway } from '../../aws/api-gateway.ts'
import { DAY_MS, dateOf } from '../../clock.ts'
import type { DailyUsage, Registration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'

/** The days that are stored: those that API Gateway returns at once. */
const DAYS = 90
/** The time limit (ms): the deletion waits meanwhile. */
const TIMEOUT_MS = 5_000

export type SaveUsageDeps = Pick<RegistrationDeps, 'store' | 'clock' | 'log'>

/**
 * Stores the daily usage of a key that is about to be deleted: API Gateway forgets it with the key. On every plan that the
 * key is on, for the last 90 days. API Gateway's figures are up to half an hour late, so the last requests may be missing.
 * Never throws: a read that fails must not keep the key alive.
 */
export async function saveUsage(
  { store, clock, log }: SaveUsageDeps,
  apiGateway: Pick<ApiGateway, 'findPlansOf' | 'readUsage'>,
  { id, apiKeyId: keyId }: Registration,
): Promise<void> {
  if (keyId === null) return
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const now = clock()
    const range = { from: dateOf(now - (DAYS - 1) * DAY_MS), to: dateOf(now) }
    const used: Record<string, number> = {}
    for (const { usagePlanId } of await apiGateway.findPlansOf(keyId, signal))
      for (const day of await apiGateway.readUsage({ usagePlanId, keyId, ...range }, signal))
        if (day.used > 0) used[day.date] = (used[day.date] ?? 0) + day.used
    await storeUsage(store, id, used)
  } catch (err) {
    log.warn(
      { registration_id: id, api_key_id: keyId, err },
      'could not store the usage of key before its deletion',
    )
  }
}

/** A second attempt to delete a key may find that it is gone, without figures: those of the first attempt stay. */
async function storeUsage(store: SaveUsageDeps['store'], id: string, used: DailyUsage): Promise<void> {
  if (Object.keys(used).length > 0) await store.saveUsage(id, used)
}
