import { z } from 'zod'
import { entryOf, tokenEntry } from '../audit.ts'
import { type OperatorStore, PUBLIC_STATUSES } from '../operators.ts'
import type { SqliteAudit } from './audit.ts'
import type { SqliteConnection } from './connection.ts'
import { sqlitePlaces } from './places.ts'
import { countRow, readRegistration, readRegistrations, readToken, tokenColumns } from './rows.ts'
import type { Statements } from './statements.ts'

const statusCountRow = z.object({ plan: z.string(), status: z.enum(PUBLIC_STATUSES), count: z.number() })
const pairRow = z.object({ id: z.string(), current_id: z.string() })

/** {@link OperatorStore} on SQLite. Every writing method is one transaction, so that each is atomic as a whole. */
export function sqliteOperators(
  { use, transact }: SqliteConnection,
  sql: Statements,
  audit: SqliteAudit,
): OperatorStore {
  const places = sqlitePlaces(sql)
  return {
    listingLagMs: 0,
    createToken: (token, actor) =>
      transact(() => {
        const { changes } = sql.insertToken.run(tokenColumns(token))
        if (changes === 0) throw new Error(`there is already a token ${token.id}, or one with its secret`)
        audit.add(tokenEntry('token.created', token.id, token.createdAt, actor))
      }),
    listTokens: () => use(() => sql.allTokens.all().flatMap((row) => readToken(row) ?? [])),
    revokeToken: (id, actor, now) =>
      transact(() => {
        sql.forgetOfToken.run(id)
        const before = readToken(sql.tokenById.get(id))
        if (before?.revokedAt === null) audit.add(tokenEntry('token.revoked', id, now, actor))
        return readToken(sql.revokeToken.get({ id, now }))
      }),
    endKeys: (ids, actor, now) =>
      transact(() => {
        const ending = places.releaseAll(ids.map((id) => sql.endKey.get({ id, now })))
        for (const one of ending) {
          sql.undoRotations.run({ id: one.rotation?.of ?? one.id })
          audit.add(entryOf('registration.revoked', one, { at: now, actor, detail: 'key_missing' }))
        }
        return ending
      }),

    adoptKey: (key, actor, now) =>
      transact(() => {
        if (sql.adoptKey.run({ ...key, now }).changes === 0) return false
        sql.countUse.run(key.tokenId)
        audit.add(entryOf('registration.adopted', { ...key, rotation: null }, { at: now, actor }))
        return true
      }),

    listWithKeys: (filter, now) =>
      use(() => {
        const {
          status = null,
          tokenId = null,
          plan = null,
          expiringBy = null,
          inDoubtBy = null,
          limit,
        } = filter
        const { id: afterId = null, createdAt: afterCreatedAt = null } = filter.after ?? {}
        const withKey = filter.withKey ? 1 : 0
        const bound = {
          status,
          tokenId,
          plan,
          expiringBy,
          inDoubtBy,
          withKey,
          afterId,
          afterCreatedAt,
          limit,
          now,
        }
        return sql.withKeys.all(bound).map((row) => {
          const { id, current_id } = pairRow.parse(row)
          const registration = readRegistration(sql.registrationById.get(id))
          const current = readRegistration(sql.registrationById.get(current_id))
          if (!registration || !current) throw new Error(`${id} or its current key ${current_id} is missing`)
          return { registration, current }
        })
      }),
    countByStatus: (now) => use(() => sql.countByStatus.all({ now }).map((row) => statusCountRow.parse(row))),
    countKeys: () => use(() => countRow.parse(sql.countKeys.get()).count),
    listRegistrations: ({ status = null, tokenId = null, limit }) =>
      use(() => readRegistrations(sql.registrations.all({ status, tokenId, limit }))),
  }
}
