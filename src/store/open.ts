import type { DateObserver } from '../clock-check.ts'
import type { StoreLocation } from '../config.ts'
import type { Log } from '../log.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

/**
 * Opens the configured store.
 * @param options.observeDate receives the dates of AWS's answers, if the store is in AWS
 * @param options.log hears when the files of the store are lost, and when they are back
 * @throws Error with the reason and the remedy if it cannot be used
 */
export async function openStore(
  location: StoreLocation,
  { observeDate, log }: { observeDate?: DateObserver; log?: Log } = {},
): Promise<Store> {
  if (location.kind === 'sqlite') return openSqliteStore(location.path, log)
  // Imported only if it is used, because the SDK takes memory and time to load.
  const { openDynamoDbStore } = await import('./dynamodb.ts')
  return openDynamoDbStore({ ...location, ...(observeDate === undefined ? {} : { observeDate }) })
}
