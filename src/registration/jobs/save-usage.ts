import type { ApiGateway } from '../../aws/api-gateway.ts'
import { isLogged } from '../../errors.ts'
import type { Registration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { readDaysUsed } from './days-used.ts'

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
  record: Registration,
): Promise<void> {
  const { id, apiKeyId } = record
  try {
    const used = await readDaysUsed(apiGateway, record, clock(), AbortSignal.timeout(TIMEOUT_MS))
    // A second attempt to delete a key may find that it is gone, without figures: those of the first attempt stay.
    if (Object.keys(used).length > 0) await store.saveUsage(id, used)
  } catch (err) {
    const fields = { registration_id: id, api_key_id: apiKeyId, err }
    if (!isLogged(err)) log.warn(fields, 'could not store the usage of a key before its deletion')
  }
}
