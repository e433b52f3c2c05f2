import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { backup, DatabaseSync } from 'node:sqlite'
import { z } from 'zod'
import { stampBackup } from './backup-stamp.ts'

/** The pages that are copied between two reports of progress. */
const PAGES_AT_ONCE = 1_000

const summary = z.object({
  tokens: z.number(),
  registrations: z.number(),
  audit: z.number(),
  schema: z.number(),
  storeId: z.string(),
})

/** The number of records of each kind, the schema's version and the id of the store: the same in the store and the backup. */
export type Summary = z.infer<typeof summary>

/**
 * Copies a store, which processes may be using, into a new file of its own, which only this user can read. The copy is
 * consistent: it has everything that was committed when it began, and nothing that was committed later. It appears under its
 * name when it is complete and verified, and is marked as a backup.
 * @param path the SQLite file of a store that was opened by this version
 * @param takenAt the time of the backup
 * @param progress receives the number of pages that are copied, and of all pages
 * @throws Error if `file` exists or cannot be written, or if the copy is not sound or not equal to the store
 */
export async function backUp(
  path: string,
  file: string,
  takenAt: number,
  progress: (done: number, all: number) => void,
): Promise<Summary> {
  if (existsSync(file)) throw new Error(`${file} exists already, and is left as it is`)
  const partial = `${file}.partial-${process.pid}`
  // SQLite gives its own files the mode of this one.
  closeSync(openSync(partial, 'wx', 0o600))
  try {
    const expected = await copyPages(path, partial, progress)
    const actual = verify(partial, takenAt)
    if (JSON.stringify(actual) !== JSON.stringify(expected))
      throw new Error(
        `the copy differs from the store: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`,
      )
    flush(partial)
    moveToNew(partial, file)
    flush(dirname(file))
    return actual
  } finally {
    for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(partial + suffix, { force: true })
  }
}

async function copyPages(
  path: string,
  partial: string,
  progress: (done: number, all: number) => void,
): Promise<Summary> {
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    // One snapshot for the copy and the counts: otherwise every write of a server would begin the copy again.
    db.exec('BEGIN')
    const expected = summarize(db)
    await backup(db, partial, {
      rate: PAGES_AT_ONCE,
      progress: ({ totalPages, remainingPages }) => progress(totalPages - remainingPages, totalPages),
    })
    return expected
  } finally {
    db.close()
  }
}

/** Marks the copy as a backup and checks it. @throws Error if it is not sound */
function verify(partial: string, takenAt: number): Summary {
  const db = new DatabaseSync(partial)
  try {
    // Without a WAL, so that the copy is one file.
    db.exec('PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; BEGIN')
    stampBackup(db, takenAt)
    db.exec('COMMIT')
    const faults = db.prepare('PRAGMA integrity_check').all().flatMap(Object.values)
    const orphans = db.prepare('PRAGMA foreign_key_check').all()
    if (faults.join() !== 'ok' || orphans.length > 0)
      throw new Error(`the store is damaged, and so is the copy: ${faults.slice(0, 5).join('; ')}`)
    return summarize(db)
  } finally {
    db.close()
  }
}

function summarize(db: DatabaseSync): Summary {
  const row = db
    .prepare(`
      SELECT (SELECT count(*) FROM tokens) AS tokens, (SELECT count(*) FROM registrations) AS registrations,
        (SELECT count(*) FROM audit) AS audit, (SELECT value FROM meta WHERE name = 'store_id') AS storeId,
        (SELECT user_version FROM pragma_user_version) AS schema`)
    .get()
  return summary.parse(row)
}

/** Gives the file its name, unless another has it meanwhile: a link never replaces a file. */
function moveToNew(partial: string, file: string): void {
  try {
    linkSync(partial, file)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EEXIST' || existsSync(file))
      throw new Error(`${file} exists already, and is left as it is`, { cause: error })
    // A file system without links.
    renameSync(partial, file)
    return
  }
  unlinkSync(partial)
}

function flush(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** The size of a backup in bytes. */
export const sizeOf = (file: string): number => statSync(file).size
