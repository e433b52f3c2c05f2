import { resolve } from 'node:path'
import type { DateObserver } from '../clock-check.ts'
import type { StoreLocation } from '../config.ts'
import type { Log } from '../log.ts'
import type { OnCommit } from './measure-commit.ts'
import { MEMORY } from './sqlite/connection.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

export interface StoreOptions {
  readonly observeDate?: DateObserver
  readonly log?: Log
  readonly onCommit?: OnCommit | undefined
}

/**
 * Opens the configured store.
 * @param options.observeDate receives the dates of AWS's answers, if the store is in AWS
 * @param options.onCommit receives every write transaction, when it has ended
 * @param options.log hears that a file of the store is new, that others had access to it, and when it is lost and back
 * @throws Error with the reason and the remedy if it cannot be used
 */
export async function openStore(
  location: StoreLocation,
  { observeDate, log, onCommit }: StoreOptions = {},
): Promise<Store> {
  if (location.kind === 'sqlite') return openSqliteStore(location.path, log, onCommit)
  // Imported only if it is used, because the SDK takes memory and time to load.
  const { openDynamoDbStore } = await import('./dynamodb.ts')
  return openDynamoDbStore({ ...location, observeDate, onCommit })
}

/** Returns the configured store in the syntax of `STORE`, with the absolute path of a file. */
export function nameOfStore(location: StoreLocation): string {
  if (location.kind === 'dynamodb') return `dynamodb:${location.table}`
  return `sqlite:${location.path === MEMORY ? MEMORY : resolve(location.path)}`
}
