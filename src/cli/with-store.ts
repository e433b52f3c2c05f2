import { existsSync } from 'node:fs'
import { readStoreLocation, type StoreLocation } from '../config.ts'
import type { Actor } from '../store/audit.ts'
import { openStore } from '../store/open.ts'
import type { Store } from '../store/store.ts'
import { operator, recordCommand } from './operator.ts'

/**
 * Runs a command that needs the store alone, and records it.
 * @param options.create make the store where there is none yet
 */
export async function withStore(
  work: (store: Store, actor: Actor) => Promise<void>,
  { create = false }: { create?: boolean } = {},
): Promise<void> {
  const location = readStoreLocation(process.env)
  requireShared(location, create)
  const store = await openStore(location)
  const actor = operator()
  try {
    await recordCommand(store, actor)
    await work(store, actor)
  } finally {
    await store.close()
  }
}

/** @throws Error if no server can be using this store: an empty one would have every command say that there is nothing */
export function requireShared(location: StoreLocation, create = false): void {
  if (location.kind !== 'sqlite') return // A table that is not there is never made by the way.
  const { path } = location
  if (path === ':memory:')
    throw new Error('STORE is sqlite::memory:, which no other process can see: name a file')
  if (!create && !existsSync(path))
    throw new Error(`there is no store ${path}: STORE names it, and "firstkey tokens create" makes it`)
}
