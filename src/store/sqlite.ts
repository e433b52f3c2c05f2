import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ServiceError } from '../errors.ts'
import { readRegistration, readToken } from './sqlite-rows.ts'
import { migrate } from './sqlite-schema.ts'
import type { Store } from './store.ts'

/** How long a statement waits for another process's write, in milliseconds. Writes take about one. */
const BUSY_TIMEOUT_MS = 2_000

const SPEND = `
  UPDATE tokens SET uses = uses + 1
  WHERE id = :token AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > :now)
    AND (max_uses IS NULL OR uses < max_uses)`

/**
 * The embedded store: one SQLite file in WAL mode, flushed to disk at every commit, shared by any number of
 * processes on one machine.
 * @param path a file path, made with its folder where missing (readable by this user only), or `:memory:`
 * @throws Error that names the path if it cannot be opened, is no database, or is from a newer version
 */
export function openSqliteStore(path: string): Store {
  let db: DatabaseSync
  try {
    db = open(path)
  } catch (error) {
    throw new Error(`the store ${path} cannot be opened: ${messageOf(error)}`, { cause: error })
  }

  const insertToken = db.prepare(`
    INSERT INTO tokens (id, secret_hash, label, plans, max_uses, uses, expires_at, key_ttl_ms, name_prefix,
                        rate_per_minute, created_at, revoked_at)
    VALUES (:id, :secretHash, :label, :plans, :maxUses, :uses, :expiresAt, :keyTtlMs, :namePrefix,
            :ratePerMinute, :createdAt, :revokedAt)`)
  const tokenByHash = db.prepare('SELECT * FROM tokens WHERE secret_hash = ?')
  const tokenById = db.prepare('SELECT * FROM tokens WHERE id = ?')
  const allTokens = db.prepare('SELECT * FROM tokens ORDER BY created_at DESC, rowid DESC')
  const revoke = db.prepare(
    'UPDATE tokens SET revoked_at = coalesce(revoked_at, :now) WHERE id = :id RETURNING *',
  )
  const spend = db.prepare(SPEND)
  const giveBack = db.prepare('UPDATE tokens SET uses = uses - 1 WHERE id = ?')
  const insertRegistration = db.prepare(`
    INSERT INTO registrations (id, token_id, status, name, description, plan, usage_plan_id, management_hash,
                               created_at, expires_at)
    VALUES (:id, :tokenId, 'pending', :name, :description, :plan, :usagePlanId, :managementHash,
            :createdAt, :expiresAt)`)
  const complete = db.prepare(`
    UPDATE registrations SET status = 'active', api_key_id = :apiKeyId, ended_at = :now
    WHERE id = :id AND status = 'pending'`)
  const fail = db.prepare(`
    UPDATE registrations SET status = 'failed', failure = :failure, ended_at = :now
    WHERE id = :id AND status = 'pending' RETURNING token_id`)
  const registrationById = db.prepare('SELECT * FROM registrations WHERE id = ?')

  /** Runs `work` on the database; what SQLite cannot do now becomes `store_unavailable`. */
  async function use<T>(work: () => T): Promise<T> {
    try {
      return work()
    } catch (error) {
      if (!isSqliteError(error)) throw error
      throw new ServiceError('store_unavailable', 'The store of the service cannot be used right now.', {
        retryAfter: 5,
        cause: error,
      })
    }
  }

  /** As {@link use}, in one write transaction. */
  function transact<T>(work: () => T): Promise<T> {
    return use(() => inTransaction(db, work))
  }

  return {
    createToken: ({ plans, ...token }) =>
      transact(() => {
        insertToken.run({ ...token, plans: JSON.stringify(plans) })
      }),
    findTokenByHash: (secretHash) => use(() => readToken(tokenByHash.get(secretHash))),
    getToken: (id) => use(() => readToken(tokenById.get(id))),
    listTokens: () => use(() => allTokens.all().flatMap((row) => readToken(row) ?? [])),
    revokeToken: (id, now) => transact(() => readToken(revoke.get({ id, now }))),

    beginRegistration: (registration) =>
      transact(() => {
        // Compare-and-swap: two registrations that race for the last use meet in this one statement, and
        // only one of them finds `uses < max_uses`. A revocation that lands first is seen here too.
        const { changes } = spend.run({ token: registration.tokenId, now: registration.createdAt })
        if (changes === 0) {
          return { outcome: 'refused', token: readToken(tokenById.get(registration.tokenId)) ?? null }
        }
        insertRegistration.run({ ...registration })
        return { outcome: 'begun' }
      }),
    // Both guarded by `status = 'pending'`: of a completion and an undoing that race, one wins.
    completeRegistration: (id, apiKeyId, now) =>
      transact(() => complete.run({ id, apiKeyId, now }).changes === 1),
    failRegistration: (id, failure, now) =>
      transact(() => {
        const row = fail.get({ id, failure, now })
        if (row === undefined) return false
        giveBack.run(String(row['token_id']))
        return true
      }),
    getRegistration: (id) => use(() => readRegistration(registrationById.get(id))),

    // An empty write transaction takes the write lock, which a file that is gone or read-only refuses.
    ping: () => transact(() => undefined),
    close: async () => db.close(),
  }
}

function open(path: string): DatabaseSync {
  const isNew = path !== ':memory:' && !existsSync(path)
  if (isNew) mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
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

function isSqliteError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && error.code === 'ERR_SQLITE_ERROR'
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
