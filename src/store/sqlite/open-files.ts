import { type BigIntStats, realpathSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import type { Log } from '../../log.ts'

/** SQLite's result code for a file that is no database. */
const SQLITE_NOTADB = 26

/** The files of an open database. */
export interface OpenFiles {
  /**
   * Returns why the files at the path are not the open ones any more; `undefined`: they are. SQLite keeps using files that
   * were moved, removed or replaced, and what it writes there is lost. The first time and the end of that are logged.
   */
  whyLost(): string | undefined
}

/**
 * Remembers the files of a database that has just been opened.
 * @param applicationId that of the database: an unopened backup has another one, see `backup-stamp.ts`
 */
export function watchOpenFiles(path: string, applicationId: number, log?: Log): OpenFiles {
  // SQLite keeps the latest commits in the second, and the index and the locks of that in the third. If the path is a link,
  // both are beside the file that it leads to.
  const real = realpathSync(path)
  const opened = [path, `${real}-wal`, `${real}-shm`].map((file) => ({ file, id: identityOf(statOf(file)) }))
  /** The main file, as it was when it was last seen to be the open database. */
  let seen = statOf(path)
  let reported: string | undefined

  function find(): string | undefined {
    for (const { file, id } of opened) {
      const stat = statOf(file)
      if (stat === undefined) return `${file} was removed`
      if (identityOf(stat) !== id) return `${file} was replaced by another file`
      if (file === path && isOverwritten(stat)) return `${file} was overwritten with other contents`
    }
    return undefined
  }

  /** A copy over the file keeps its identity. SQLite changes the file too, but never makes it smaller. */
  function isOverwritten(stat: BigIntStats): boolean {
    if (seen !== undefined && stat.mtimeNs === seen.mtimeNs && stat.size === seen.size) return false
    if (stat.size < (seen?.size ?? 0n) || !hasApplicationId(path, applicationId)) return true
    seen = stat
    return false
  }

  return {
    whyLost() {
      const why = find()
      if (why !== undefined && reported === undefined)
        log?.error(
          { store: path, reason: why },
          'the store is not used: stop the service, put the right files in place, and start it; or put these back',
        )
      if (why === undefined && reported !== undefined)
        log?.info({ store: path }, 'the files of the store are back; it is used again')
      reported = why
      return why
    },
  }
}

/** Looks at the main file alone. SQLite opens it: closing a descriptor of one's own would drop the locks of this process. */
function hasApplicationId(path: string, applicationId: number): boolean {
  let db: DatabaseSync | undefined
  try {
    db = openMainFile(path)
    return db.prepare('PRAGMA application_id').get()?.['application_id'] === applicationId
  } catch (error) {
    // Any other error may be that of a file into which another process moves the WAL at this moment.
    return !(error instanceof Error && 'errcode' in error && error.errcode === SQLITE_NOTADB)
  } finally {
    db?.close()
  }
}

/** Opens the main file of a database for reading, without its WAL and without locks. */
export function openMainFile(path: string): DatabaseSync {
  const url = pathToFileURL(path)
  url.searchParams.set('immutable', '1')
  return new DatabaseSync(url, { readOnly: true })
}

function statOf(file: string): BigIntStats | undefined {
  try {
    return statSync(file, { bigint: true, throwIfNoEntry: false })
  } catch {
    return undefined // Its folder cannot be read, or is none any more.
  }
}

/** Device and inode; `undefined`: there is no such file. */
function identityOf(stat: BigIntStats | undefined): string | undefined {
  return stat && `${stat.dev}:${stat.ino}`
}
