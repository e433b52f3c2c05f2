import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { idsOfKey } from './key-names.ts'

/**
 * Reads the record of the registration or rotation that a key belongs to, by the key's name. A pool key belongs to the one that
 * it was handed out to, also before it is renamed.
 * @param nameOfKey see `keyName` and `poolKeyName`
 * @returns `undefined`: there is none
 * @throws ServiceError of the store
 */
export async function recordOfKey(
  store: Pick<Store, 'getRegistration'>,
  nameOfKey: string,
): Promise<Registration | undefined> {
  for (const id of idsOfKey(nameOfKey)) {
    const record = await store.getRegistration(id)
    if (record !== undefined) return record
  }
  return undefined
}
