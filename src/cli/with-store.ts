import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { readStoreLocation, type StoreLocation } from '../config.ts'
import type { Log } from '../log.ts'
import type { Actor } from '../store/audit.ts'
import { openStore } from '../store/open.ts'
import type { Store } from '../store/store.ts'
import { operator, recordCommand } from './operator.ts'
import { noteRestore } from './restore-note.ts'

/** Prints what a store reports when it is opened: that it is new, or that others had access to its files. */
const print = (_fields: object, message: string) => void process.stderr.write(`${message}\n`)
const onStderr: Log = { info: print, warn: print, error: print }

/**
 * Runs a command that needs only the store, and records it.
 * @param options.create creates the store if it does not exist
 */
export async function withStore(
  work: (store: Store, actor: Actor) => Promise<void>,
  { create = false }: { create?: boolean } = {},
): Promise<void> {
  const location = readStoreLocation(process.env)
  requireShared(location, create)
  const store = await openStore(location, { log: onStderr })
  const actor = operator()
  try {
    await recordCommand(store, actor)
    await noteRestore(store)
    await work(store, actor)
  } finally {
    await store.close()
  }
}

/**
 * Rejects a store that no server can be using: it would be empty, and every command would report that nothing exists.
 * @throws Error if the store is in memory, or is a file that does not exist (unless `create`)
 */
export function requireShared(location: StoreLocation, create = false): void {
  if (location.kind !== 'sqlite') return // Opening a table that does not exist fails, and creates nothing.
  const { path } = location
  if (path === ':memory:')
    throw new Error('STORE is sqlite::memory:, which no other process can see: set it to a file')
  if (!create && !existsSync(path))
    throw new Error(
      `there is no store ${resolve(path)}: correct STORE, or create the store with "firstkey tokens create"`,
    )
}
