import { chmodSync, existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { ServiceError } from '../errors.ts'
import { sqliteEndings } from './sqlite-endings.ts'
import { sqliteListing } from './sqlite-listing.ts'
import { sqliteRotations } from './sqlite-rotations.ts'
import { readRegistration, readToken } from './sqlite-rows.ts'
import { migrate } from './sqlite-schema.ts'
import { prepareStatements } from './sqlite-statements.ts'
import type { BeginOutcome, Completion, Lease, NewRegistration, Store } from './store.ts'

/**
 * How long a statement waits for another process's write, in milliseconds. It blocks the whole process meanwhile, so
 * it is short, and what is still locked then is tried again later: writes take about a millisecond.
 */
const BUSY_TIMEOUT_MS = 20
/** How long an operation is tried again, and the longest pause between, in milliseconds. */
const BUSY_RETRY_MS = 2_000
const BUSY_PAUSE_MS = 50
/** SQLite's result code for a database that another connection has locked. */
const SQLITE_BUSY = 5

/**
 * The embedded store: one SQLite file in WAL mode, flushed to disk at every commit, shared by any number of
 * processes on one machine.
 * @param path a file path, made with the folder it is in where missing (readable by this user only), or `:memory:`
 * @throws Error that names the path if it cannot be opened, is no database, or is from a newer version
 */
export function openSqliteStore(path: string): Store {
  let db: DatabaseSync
  try {
    db = open(path)
  } catch (error) {
    throw new Error(`the store ${path} cannot be opened: ${messageOf(error)}`, { cause: error })
  }

  const sql = prepareStatements(db)
  const rotations = sqliteRotations(sql)
  const identity = identityOf(path)

  /** Runs `work` on the database; what SQLite cannot do now becomes `store_unavailable`. */
  async function use<T>(work: () => T): Promise<T> {
    const giveUpAt = performance.now() + BUSY_RETRY_MS
    for (;;) {
      try {
        return work()
      } catch (error) {
        if (!isSqliteError(error)) throw error
        if (error.errcode !== SQLITE_BUSY || performance.now() > giveUpAt) throw unavailable(error)
      }
      await sleep(Math.random() * BUSY_PAUSE_MS)
    }
  }

  /** As {@link use}, in one write transaction. */
  function transact<T>(work: () => T): Promise<T> {
    return use(() => inTransaction(db, work))
  }

  /** One registration, within a transaction. */
  function begin({ idempotency, rotation, ...registration }: NewRegistration, lease: Lease): BeginOutcome {
    const { tokenId, createdAt } = registration
    // Two processes that begin the same request at once: the second finds the first one's record here.
    if (idempotency !== null && sql.registrationByKey.get(tokenId, idempotency.keyHash) !== undefined) {
      return { outcome: 'duplicate' }
    }
    if (rotation !== null) {
      const refusal = rotations.whyNotBegun(rotation.of, createdAt)
      if (refusal !== undefined) return { outcome: refusal }
    } else if (sql.spendUse.run({ token: tokenId, now: createdAt }).changes === 0) {
      return { outcome: 'refused', token: readToken(sql.tokenById.get(tokenId)) ?? null }
    }
    const { keyHash, requestHash, sealed } = idempotency ?? { keyHash: null, requestHash: null, sealed: null }
    sql.insertRegistration.run({
      ...registration,
      ...{ keyHash, requestHash, sealed },
      ...lease,
      rotationOf: rotation?.of ?? null,
      overlapMs: rotation?.overlapMs ?? null,
      renewsManagement: rotation === null ? null : Number(rotation.renewsManagement),
    })
    return { outcome: 'begun' }
  }

  /** One completion, within a transaction. */
  function complete({ id, owner, apiKeyId, answered }: Completion, now: number): boolean {
    const answeredAt = answered() ? now : null
    const row = sql.complete.get({ id, owner, apiKeyId, now, answeredAt })
    if (row === undefined) return false
    if (row['rotation_of'] !== null && answeredAt !== null) rotations.takePlace(id, now)
    return true
  }

  return {
    createToken: ({ plans, ...token }) =>
      transact(() => {
        sql.insertToken.run({ ...token, plans: JSON.stringify(plans) })
      }),
    findTokenByHash: (secretHash) => use(() => readToken(sql.tokenByHash.get(secretHash))),
    getToken: (id) => use(() => readToken(sql.tokenById.get(id))),
    listTokens: () => use(() => sql.allTokens.all().flatMap((row) => readToken(row) ?? [])),
    revokeToken: (id, now) =>
      transact(() => {
        sql.forgetOfToken.run(id)
        return readToken(sql.revokeToken.get({ id, now }))
      }),

    beginRegistrations: (registrations, lease) =>
      transact(() => registrations.map((registration) => begin(registration, lease))),
    completeRegistrations: (completions, now) =>
      transact(() => {
        const completed = completions.filter((completion) => complete(completion, now))
        return new Set(completed.map(({ id }) => id))
      }),
    failRegistrations: (held, ending) =>
      transact(() => {
        const failed = new Set<string>()
        for (const { id, owner } of held) {
          const row = sql.fail.get({ id, owner, ...ending })
          if (row === undefined) continue
          if (row['rotation_of'] === null) sql.giveUseBack.run(String(row['token_id']))
          failed.add(id)
        }
        return failed
      }),
    markAnswered: (id, now) =>
      transact(() => {
        const before = readRegistration(sql.registrationById.get(id))
        if (sql.markAnswered.run({ id, now }).changes === 0) return false
        if (before?.rotation && before.answeredAt === null) rotations.takePlace(id, now)
        return true
      }),
    findByIdempotencyKey: (tokenId, keyHash) =>
      use(() => readRegistration(sql.registrationByKey.get(tokenId, keyHash))),
    getRegistration: (id) => use(() => readRegistration(sql.registrationById.get(id))),

    takeLeases: (ids, status, lease, now) =>
      transact(
        () => new Set(ids.filter((id) => sql.takeLease.run({ id, status, ...lease, now }).changes === 1)),
      ),
    startUndoing: (held) =>
      transact(() => {
        const mine = held.filter(({ id, owner }) => sql.startUndoing.run({ id, owner }).changes === 1)
        return new Set(mine.map(({ id }) => id))
      }),
    renewLeases: (owners, until) =>
      transact(() => {
        for (const owner of owners) sql.renewLeases.run({ owner, until })
      }),
    releaseLeases: (held) =>
      transact(() => {
        for (const { id, owner } of held) sql.releaseLease.run({ id, owner })
      }),
    listRecoverable: (now, limit) =>
      use(() => sql.recoverable.all({ now, limit }).flatMap((row) => readRegistration(row) ?? [])),
    finishSweeps: (ids, dueBy) =>
      transact(() => {
        for (const id of ids) sql.finishSweep.run({ id, dueBy })
      }),
    sweepAgain: (ids, at) =>
      transact(() => {
        for (const id of ids) sql.sweepAgain.run({ id, at })
      }),
    forgetIdempotency: (createdBefore) =>
      transact(() => {
        sql.forgetOld.run(createdBefore)
      }),

    findByManagementHash: (hash) =>
      use(() => readRegistration(sql.registrationByManagementHash.get({ hash }))),
    listRotations: (id) => use(() => sql.rotations.all(id).flatMap((row) => readRegistration(row) ?? [])),
    ...sqliteEndings(sql, transact),
    ...sqliteListing(sql, use),

    async ping() {
      // SQLite goes on with a file that was deleted or replaced under it, and all that would be lost.
      if (identityOf(path) !== identity)
        throw unavailable(new Error(`${path} is not the file that was opened`))
      await transact(() => undefined) // Takes the write lock, which a read-only file refuses.
    },
    close: async () => db.close(),
  }
}

function open(path: string): DatabaseSync {
  const isNew = path !== ':memory:' && !existsSync(path)
  if (isNew && !existsSync(dirname(path))) mkdirSync(dirname(path), { mode: 0o700 })
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS, enableForeignKeyConstraints: true })
  try {
    // SQLite gives the WAL and its index the mode of the database file.
    if (isNew) chmodSync(path, 0o600)
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    inTransaction(db, () => migrate(db))
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

function inTransaction<T>(db: DatabaseSync, work: () => T): T {
  // IMMEDIATE takes the write lock before anything is read, so nothing read here can be stale when written.
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

function unavailable(cause: unknown): ServiceError {
  return new ServiceError('store_unavailable', 'The store of the service cannot be used right now.', {
    retryAfter: 5,
    cause,
  })
}

/** Device and inode of a file; `undefined` where there is none. */
function identityOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  return stat && `${stat.dev}:${stat.ino}`
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
