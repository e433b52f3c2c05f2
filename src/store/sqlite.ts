import { entryOf, SERVICE, tokenEntry } from './audit.ts'
import type { Lease, NewRegistration } from './records.ts'
import { sqliteAudit } from './sqlite/audit.ts'
import { connect } from './sqlite/connection.ts'
import { sqliteEndings } from './sqlite/endings.ts'
import { sqliteListing } from './sqlite/listing.ts'
import { sqliteRotations } from './sqlite/rotations.ts'
import { readRegistration, readToken } from './sqlite/rows.ts'
import { prepareStatements } from './sqlite/statements.ts'
import type { Answered, BeginOutcome, Completion, Store } from './store.ts'

/**
 * The embedded store: one SQLite file in WAL mode, flushed to disk at every commit, shared by any number of
 * processes on one machine.
 * @param path a file path, made with the folder it is in where missing (readable by this user only), or `:memory:`
 * @throws Error that names the path if it cannot be opened, is no database, or is from a newer version
 */
export function openSqliteStore(path: string): Store {
  const { db, use, transact, ping } = connect(path)
  const sql = prepareStatements(db)
  const rotations = sqliteRotations(sql)
  const audit = sqliteAudit(db, use, transact)

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

  /** One completion, within a transaction; `undefined` if it could not be. */
  function complete({ id, owner, actor, apiKeyId, answered }: Completion, now: number): Answered | undefined {
    const answeredAt = answered() ? now : null
    const row = sql.complete.get({ id, owner, apiKeyId, now, answeredAt })
    if (row === undefined) return undefined
    const { tokenId, rotation } = originOf(row)
    const replaced = rotation !== null && answeredAt !== null ? rotations.takePlace(id, now) : null
    const action = rotation === null ? 'registration.created' : 'registration.rotated'
    audit.add(entryOf(action, { id, tokenId, rotation, apiKeyId }, { at: now, actor }))
    return { replaced }
  }

  return {
    createToken: ({ plans, ...token }, actor) =>
      transact(() => {
        sql.insertToken.run({ ...token, plans: JSON.stringify(plans) })
        audit.add(tokenEntry('token.created', token.id, token.createdAt, actor))
      }),
    findTokenByHash: (secretHash) => use(() => readToken(sql.tokenByHash.get(secretHash))),
    getToken: (id) => use(() => readToken(sql.tokenById.get(id))),
    listTokens: () => use(() => sql.allTokens.all().flatMap((row) => readToken(row) ?? [])),
    revokeToken: (id, actor, now) =>
      transact(() => {
        sql.forgetOfToken.run(id)
        const before = readToken(sql.tokenById.get(id))
        if (before?.revokedAt === null) audit.add(tokenEntry('token.revoked', id, now, actor))
        return readToken(sql.revokeToken.get({ id, now }))
      }),

    beginRegistrations: (registrations, lease) =>
      transact(() => registrations.map((registration) => begin(registration, lease))),
    completeRegistrations: (completions, now) =>
      transact(() => {
        const completed = new Map<string, Answered>()
        for (const completion of completions) {
          const answered = complete(completion, now)
          if (answered !== undefined) completed.set(completion.id, answered)
        }
        return completed
      }),
    failRegistrations: (held, { failure, now, sweepAt }) =>
      transact(() => {
        const failed = new Set<string>()
        for (const { id, owner } of held) {
          const row = sql.fail.get({ id, owner, failure, now, sweepAt })
          if (row === undefined) continue
          const { tokenId, rotation } = originOf(row)
          if (rotation === null) sql.giveUseBack.run(tokenId)
          const undone = { id, tokenId, rotation, apiKeyId: null }
          audit.add(entryOf('registration.undone', undone, { at: now, actor: SERVICE, detail: failure }))
          failed.add(id)
        }
        return failed
      }),
    markAnswered: (id, actor, now) =>
      transact(() => {
        const before = readRegistration(sql.registrationById.get(id))
        if (sql.markAnswered.run({ id, now }).changes === 0 || before === undefined) return undefined
        audit.add(entryOf('registration.replayed', before, { at: now, actor }))
        if (before.rotation !== null && before.answeredAt === null)
          return { replaced: rotations.takePlace(id, now) }
        const { replacedId } = before
        const replaced = replacedId === null ? undefined : sql.registrationById.get(replacedId)
        return { replaced: readRegistration(replaced) ?? null }
      }),
    withdrawAnswers: (ids, lease) =>
      transact(() => new Set(ids.filter((id) => sql.withdraw.run({ id, ...lease }).changes === 1))),
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

    findByManagementHash: (hash) => use(() => readRegistration(sql.registrationByManagementHash.get(hash))),
    countRequest: (tokenId, window) =>
      transact(() => Number(sql.countRequest.get({ tokenId, window })?.['count'])),
    listRotations: (id) => use(() => sql.rotations.all(id).flatMap((row) => readRegistration(row) ?? [])),
    ...sqliteEndings(sql, audit, transact),
    ...sqliteListing(sql, use),
    ...audit.trail,

    ping,
    close: async () => db.close(),
  }
}

/** Whose a registration is, of a row that tells `token_id` and `rotation_of`. */
function originOf(row: Record<string, unknown>): { tokenId: string; rotation: { of: string } | null } {
  const of = row['rotation_of']
  return { tokenId: String(row['token_id']), rotation: of === null ? null : { of: String(of) } }
}
