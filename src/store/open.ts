import type { DateObserver } from '../clock-check.ts'
import type { StoreLocation } from '../config.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

/**
 * Opens the configured store.
 * @param observeDate receives the dates of AWS's answers, if the store is in AWS
 * @throws Error with the reason and the remedy if it cannot be used
 */
export async function openStore(location: StoreLocation, observeDate?: DateObserver): Promise<Store> {
  if (location.kind === 'sqlite') return openSqliteStore(location.path)
  // Imported only if it is used, because the SDK takes memory and time to load.
  const { openDynamoDbStore } = await import('./dynamodb.ts')
  return openDynamoDbStore({ ...location, ...(observeDate === undefined ? {} : { observeDate }) })
}
