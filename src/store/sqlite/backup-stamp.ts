import { randomInt } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { openMainFile } from './open-files.ts'

/** The rows of `meta` that have the time of a backup: in the backup itself, and from its first opening as a store. */
const BACKUP_OF = 'backup_of'
export const RESTORED_AS_OF = 'restored_as_of'

/** Marks a copy of a store as a backup, within a transaction. Its new application id tells it from the store, see `open-files.ts`. */
export function stampBackup(db: DatabaseSync, takenAt: number): void {
  db.prepare('DELETE FROM meta WHERE name = ?').run(RESTORED_AS_OF)
  db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(BACKUP_OF, String(takenAt))
  db.exec(`PRAGMA application_id = ${randomInt(1, 2 ** 31)}`)
}

/** Backups of earlier versions do not have every table. */
function hasTable(db: DatabaseSync, name: string): boolean {
  return db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(name) !== undefined
}

/** The database is a backup that was never opened as a store. */
export function isBackup(db: DatabaseSync): boolean {
  return hasTable(db, 'meta') && db.prepare('SELECT 1 FROM meta WHERE name = ?').get(BACKUP_OF) !== undefined
}

/** Turns a backup into a store that remembers it, within a transaction. Its pool keys may have been handed out since. */
export function markRestored(db: DatabaseSync): void {
  db.prepare('UPDATE meta SET name = ? WHERE name = ?').run(RESTORED_AS_OF, BACKUP_OF)
  for (const table of ['pool_keys', 'pool_holders']) if (hasTable(db, table)) db.exec(`DELETE FROM ${table}`)
}

/** The file is a backup, whatever the WAL beside it says. */
export function isBackupFile(path: string): boolean {
  const db = openMainFile(path)
  try {
    return isBackup(db)
  } catch {
    return false // Another process is changing it.
  } finally {
    db.close()
  }
}
