import { readStoreLocation } from '../config.ts'
import type { Actor } from '../store/audit.ts'
import { openSqliteStore } from '../store/sqlite.ts'
import type { Store } from '../store/store.ts'
import { operator, recordCommand } from './operator.ts'

/** Runs a command that needs the store alone, and records it. */
export async function withStore(work: (store: Store, actor: Actor) => Promise<void>): Promise<void> {
  const { path } = readStoreLocation(process.env)
  if (path === ':memory:')
    throw new Error('STORE is sqlite::memory:, which no other process can see: name a file')
  const store = openSqliteStore(path)
  const actor = operator()
  try {
    await recordCommand(store, actor)
    await work(store, actor)
  } finally {
    await store.close()
  }
}
