import type { StoreLocation } from '../config.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

/** Opens the store that is configured. @throws Error that says why it cannot be used, and what would mend it */
export async function openStore(location: StoreLocation): Promise<Store> {
  if (location.kind === 'sqlite') return openSqliteStore(location.path)
  // Loaded only where it is used: the SDK costs memory and time at the start.
  const { openDynamoDbStore } = await import('./dynamodb.ts')
  return openDynamoDbStore(location)
}
