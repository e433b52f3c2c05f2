import { chmodSync, closeSync, existsSync, mkdirSync, openSync, realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Log } from '../../log.ts'

/** The suffixes of the files of a database. */
const SUFFIXES = ['', '-wal', '-shm', '-journal']
const OWNER_ONLY = 0o600
const OTHERS = 0o077

/**
 * Creates the file of a database, empty and readable by its owner only, and its folder. SQLite gives the WAL and its index the
 * mode of the file.
 * @returns `false`: the file exists
 * @throws Error of the file system
 */
export function createPrivateFile(path: string): boolean {
  if (existsSync(path)) return false
  if (!existsSync(dirname(path))) mkdirSync(dirname(path), { mode: 0o700 })
  // Not exclusively: another process may create it now, and a link to a file that does not exist creates that one.
  closeSync(openSync(path, 'a', OWNER_ONLY))
  return true
}

/** Takes the access of other users from the files of a database. Logs the files that had it. */
export function makeFilesPrivate(path: string, log?: Log): void {
  for (const suffix of SUFFIXES) {
    const file = realpathSync(path) + suffix
    const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0
    if ((mode & OTHERS) === 0) continue
    const fields = { store: file, mode: (mode & 0o777).toString(8) }
    try {
      chmodSync(file, mode & 0o700)
      log?.warn(fields, `other users had access to ${file}: now its owner alone has`)
    } catch (err) {
      log?.warn(
        { ...fields, err },
        `other users have access to ${file}, and only its owner can change that: chmod 600`,
      )
    }
  }
}
