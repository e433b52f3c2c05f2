import { readStoreLocation } from '../config.ts'
import { openSqliteStore } from '../store/sqlite.ts'
import type { Store } from '../store/store.ts'

/** Runs a command that needs the store alone. */
export async function withStore(work: (store: Store) => Promise<void>): Promise<void> {
  const { path } = readStoreLocation(process.env)
  if (path === ':memory:')
    throw new Error('STORE is sqlite::memory:, which no other process can see: name a file')
  const store = openSqliteStore(path)
  try {
    await work(store)
  } finally {
    await store.close()
  }
}
