import { readStoreLocation } from '../config.ts'
import { openSqliteStore } from '../store/sqlite.ts'
import type { Store } from '../store/store.ts'

/** Runs a command that needs the store alone. */
export async function withStore(work: (store: Store) => Promise<void>): Promise<void> {
  const store = openSqliteStore(readStoreLocation(process.env).path)
  try {
    await work(store)
  } finally {
    await store.close()
  }
}
