import type { StoreLocation } from '../config.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

/** Opens the configured store. @throws Error with the reason and the remedy if it cannot be used */
export async function openStore(location: StoreLocation): Promise<Store> {
  if (location.kind === 'sqlite') return openSqliteStore(location.path)
  // Imported only if it is used, because the SDK takes memory and time to load.
  const { openDynamoDbStore } = await import('./dynamodb.ts')
  return openDynamoDbStore(location)
}
