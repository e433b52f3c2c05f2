import { randomInt } from 'node:crypto'
import { realpathSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ServiceError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { measureCommit, type OnCommit } from '../measure-commit.ts'
import { isBackup, isBackupFile, markRestored } from './backup-stamp.ts'
import { createLockQueue } from './lock-queue.ts'
import { watchOpenFiles } from './open-files.ts'
import { createPrivateFile, makeFilesPrivate } from './private-files.ts'
import { migrate, requireOwnSchema } from './schema.ts'
import { ensureStoreId } from './store-id.ts'
import { createWalFlush } from './wal-flush.ts'

/** The time for which opening waits, in milliseconds: another process that starts now may be migrating the file. */
const OPEN_TIMEOUT_MS = 5_000
/**
 * The pages of the WAL (16 MB) at which a commit moves them into the main file, and blocks the process for that. A registration
 * takes about 20: with SQLite's 1,000, the slowest in a hundred would be those that do this.
 */
const CHECKPOINT_PAGES = 4_000
/** SQLite's result codes for a database that another connection has locked, and for a violated constraint. */
const SQLITE_BUSY = 5
const SQLITE_CONSTRAINT = 19
/** The path of a database in memory. */
export const MEMORY = ':memory:'

/** An open database. Its errors become errors of the service. */
export interface SqliteConnection {
  readonly db: DatabaseSync
  readonly storeId: string
  /**
   * Runs `work` on the database.
   * @throws ServiceError `store_unavailable` if SQLite cannot do it now, or if the files at the path are not the open ones
   */
  use<T>(work: () => T): Promise<T>
  /**
   * Runs `work` in one write transaction, and resolves when it is on the disk. Others may read it a moment earlier.
   * @throws ServiceError as {@link use}; if the disk failed, the transaction may be in effect all the same
   */
  transact<T>(work: () => T): Promise<T>
  /** Waits for the transactions that are being written to the disk, and closes the database. */
  close(): Promise<void>
}

/**
 * Opens the database at `named` (the path of a file, or `:memory:`), creates it if it is missing, and migrates it.
 * @param onCommit receives every write transaction, when it has ended
 * @param log hears that the file is new, that others had access to it, and when it is not in its place any more
 * @throws Error that names the path if it cannot be opened, is no database, or was written by a newer version
 */
export function connect(named: string, log?: Log, onCommit?: OnCommit): SqliteConnection {
  const path = named === MEMORY ? MEMORY : resolve(named)
  let opened: Opened
  try {
    opened = open(path, log)
  } catch (error) {
    throw new Error(`the store ${path} cannot be opened: ${messageOf(error)}`, { cause: error })
  }
  const { db, storeId } = opened
  const files = path === MEMORY ? undefined : watchOpenFiles(path, applicationIdOf(db), log)
  const wal = path === MEMORY ? undefined : createWalFlush(`${realpathSync(path)}-wal`, log)
  const queue = createLockQueue(isLocked, unavailable)
  const alreadyLogged = log !== undefined

  /** Just before `work`: it may have waited for a lock. */
  const inOwnFiles =
    <T>(work: () => T) =>
    () => {
      // After a flush that failed, only a new start shows what is on the disk: opening checks the WAL, a later flush does not.
      const why = files?.whyLost() ?? wal?.whyFailed()
      if (why !== undefined) throw unavailable(new Error(why), { alreadyLogged })
      return work()
    }

  async function transactOnDisk<T>(work: () => T): Promise<T> {
    const result = await queue.inOrder(inOwnFiles(() => inTransaction(db, work))).catch(rethrow)
    await wal?.flushed().catch((error: unknown) => {
      throw unavailable(error, { alreadyLogged })
    })
    return result
  }

  const transact = <T>(work: () => T) => measureCommit(onCommit, () => transactOnDisk(work))

  // A read needs no lock as a rule, and finds what was committed, so it does not wait behind writes.
  const use = <T>(work: () => T) => queue.atOnce(inOwnFiles(work)).catch(rethrow)

  return {
    ...{ db, storeId, use, transact },
    async close() {
      await wal?.close()
      db.close()
    },
  }
}

type Opened = Pick<SqliteConnection, 'db' | 'storeId'>

function open(path: string, log?: Log): Opened {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new Error('it is a folder: name a file in it')
  const isNew = path !== MEMORY && createPrivateFile(path)
  const opened = openInTime(path, log)
  if (isNew) log?.info({ store: path, store_id: opened.storeId }, `created a new store at ${path}`)
  return opened
}

function openInTime(path: string, log?: Log): Opened {
  const giveUpAt = performance.now() + OPEN_TIMEOUT_MS
  for (;;) {
    try {
      return tryToOpen(path, log)
    } catch (error) {
      // While another process changes the journal mode, SQLite does not wait for it, whatever the time-out is.
      if (!isLocked(error) || performance.now() > giveUpAt) throw error
    }
  }
}

function tryToOpen(path: string, log?: Log): Opened {
  if (path !== MEMORY) refuseForeignWal(path)
  const db = new DatabaseSync(path, { timeout: OPEN_TIMEOUT_MS, enableForeignKeyConstraints: true })
  try {
    // First of all: the file of another program stays as it is.
    inTransaction(db, () => requireOwnSchema(db))
    if (path !== MEMORY) makeFilesPrivate(path, log)
    // Before the WAL mode, so that the main file has it at once.
    if (isEmpty(db)) inTransaction(db, () => giveApplicationId(db))
    if (isBackup(db)) inTransaction(db, () => markRestored(db))
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    const storeId = inTransaction(db, () => {
      migrate(db)
      return ensureStoreId(db)
    })
    // From here on waiting, for locks and for the disk, is the task of this process: SQLite would block all of it. With NORMAL it
    // flushes where its file depends on the order (a checkpoint), but not at a commit.
    db.exec(
      `PRAGMA busy_timeout = 0; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`,
    )
    return { db, storeId }
  } catch (error) {
    db.close()
    throw error
  }
}

/** SQLite would mix the WAL of the database that was there before into a backup. A backup that was opened is none any more. */
function refuseForeignWal(path: string): void {
  const wal = `${path}-wal`
  if (!statSync(wal, { throwIfNoEntry: false })?.size || !isBackupFile(path)) return
  throw new Error(
    `it is a backup, and ${wal} belongs to the database that was there before: remove ${wal} and ${path}-shm`,
  )
}

const isEmpty = (db: DatabaseSync) => db.prepare('PRAGMA user_version').get()?.['user_version'] === 0

const applicationIdOf = (db: DatabaseSync) =>
  Number(db.prepare('PRAGMA application_id').get()?.['application_id'])

/** Marks a new file, so that another that is copied over it is noticed. Of two processes that open it, one does. */
function giveApplicationId(db: DatabaseSync): void {
  if (isEmpty(db) && applicationIdOf(db) === 0) db.exec(`PRAGMA application_id = ${randomInt(1, 2 ** 31)}`)
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

function unavailable(cause: unknown, options: { alreadyLogged?: boolean } = {}): ServiceError {
  return new ServiceError('store_unavailable', 'The store of the service cannot be used right now.', {
    ...options,
    retryAfter: 5,
    cause,
  })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
