import { chmodSync, existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ServiceError } from '../../errors.ts'
import { createLockQueue } from './lock-queue.ts'
import { migrate } from './schema.ts'
import { ensureStoreId } from './store-id.ts'

/** The time for which opening waits, in milliseconds: another process that starts now may be migrating the file. */
const OPEN_TIMEOUT_MS = 5_000
/** SQLite's result codes for a database that another connection has locked, and for a violated constraint. */
const SQLITE_BUSY = 5
const SQLITE_CONSTRAINT = 19

/** An open database. Its errors become errors of the service. */
export interface SqliteConnection {
  readonly db: DatabaseSync
  readonly storeId: string
  /** Runs `work` on the database. @throws ServiceError `store_unavailable` if SQLite cannot do it now */
  use<T>(work: () => T): Promise<T>
  /**
   * Runs `work` in one write transaction.
   * @throws ServiceError as {@link use}, and `store_unavailable` if the file at the path is not the one that was opened
   */
  transact<T>(work: () => T): Promise<T>
}

/**
 * Opens the database at `path` (a file, or `:memory:`), creates it if it is missing, and migrates it.
 * @throws Error that names the path if it cannot be opened, is no database, or was written by a newer version
 */
export function connect(path: string): SqliteConnection {
  let opened: Opened
  try {
    opened = open(path)
  } catch (error) {
    throw new Error(`the store ${path} cannot be opened: ${messageOf(error)}`, { cause: error })
  }
  const { db, storeId } = opened
  const identity = identityOf(path)

  const queue = createLockQueue(isLocked, unavailable)

  const transact = <T>(work: () => T) =>
    queue
      .inOrder(() => {
        // SQLite keeps writing to a file that was moved, deleted or replaced, and all that would be lost.
        if (identityOf(path) !== identity)
          throw unavailable(new Error(`${path} is not the file that was opened`))
        return inTransaction(db, work)
      })
      .catch(rethrow)

  // A read needs no lock as a rule, and finds what was committed, so it does not wait behind writes.
  const use = <T>(work: () => T) => queue.atOnce(work).catch(rethrow)

  return { db, storeId, use, transact }
}

type Opened = Pick<SqliteConnection, 'db' | 'storeId'>

function open(path: string): Opened {
  const giveUpAt = performance.now() + OPEN_TIMEOUT_MS
  for (;;) {
    try {
      return tryToOpen(path)
    } catch (error) {
      // While another process changes the journal mode, SQLite does not wait for it, whatever the time-out is.
      if (!isLocked(error) || performance.now() > giveUpAt) throw error
    }
  }
}

function tryToOpen(path: string): Opened {
  const isNew = path !== ':memory:' && !existsSync(path)
  if (isNew && !existsSync(dirname(path))) mkdirSync(dirname(path), { mode: 0o700 })
  const db = new DatabaseSync(path, { timeout: OPEN_TIMEOUT_MS, enableForeignKeyConstraints: true })
  try {
    // SQLite gives the WAL and its index the mode of the database file.
    if (isNew) chmodSync(path, 0o600)
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    const storeId = inTransaction(db, () => {
      migrate(db)
      return ensureStoreId(db)
    })
    // From here on waiting is the task of the queue: SQLite would block the whole process.
    db.exec('PRAGMA busy_timeout = 0')
    return { db, storeId }
  } catch (error) {
    db.close()
    throw error
  }
}

function inTransaction<T>(db: DatabaseSync, work: () => T): T {
  // IMMEDIATE takes the write lock before the first read, so that no value read here can be stale when it is written.
  db.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    db.exec('COMMIT')
    return result
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

function isSqliteError(error: unknown): error is Error & { errcode: unknown } {
  return error instanceof Error && 'errcode' in error
}

/** The low byte: the rest tells variants of the same code apart. */
const primaryCode = ({ errcode }: { errcode: unknown }): number => Number(errcode) & 0xff

function isLocked(error: unknown): boolean {
  return isSqliteError(error) && primaryCode(error) === SQLITE_BUSY
}

/** Throws an error of SQLite as `store_unavailable`, and any other as it is. */
function rethrow(error: unknown): never {
  // A violated constraint is a fault of the service, and would be one again.
  if (!isSqliteError(error) || primaryCode(error) === SQLITE_CONSTRAINT) throw error
  throw unavailable(error)
}

function unavailable(cause: unknown): ServiceError {
  return new ServiceError('store_unavailable', 'The store of the service cannot be used right now.', {
    retryAfter: 5,
    cause,
  })
}

/** Device and inode of a file; `undefined`: there is no such file. */
function identityOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  return stat && `${stat.dev}:${stat.ino}`
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
