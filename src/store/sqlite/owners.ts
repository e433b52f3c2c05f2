import { z } from 'zod'
import { entryOf } from '../audit.ts'
import type { OwnerStore } from '../owners.ts'
import type { SqliteAudit } from './audit.ts'
import type { SqliteConnection } from './connection.ts'
import { sqlitePlaces } from './places.ts'
import { readRegistration, readRegistrations } from './rows.ts'
import type { Statements } from './statements.ts'

const usageRow = z.object({ date: z.string(), used: z.number() })

/** {@link OwnerStore} on SQLite: one transaction. */
export function sqliteOwners(
  { use, transact }: SqliteConnection,
  sql: Statements,
  audit: SqliteAudit,
): OwnerStore {
  const places = sqlitePlaces(sql)
  return {
    revokeRegistration: (id, actor, now) =>
      transact(() => {
        const newest = readRegistration(sql.newestToRevoke.get({ id }))
        places.releaseAll(sql.revoke.all({ id, now }))
        sql.undoPending.run({ id })
        if (newest !== undefined) audit.add(entryOf('registration.revoked', newest, { at: now, actor }))
        return readRegistrations(sql.endingOf.all({ id }))
      }),
    sumFinalUsage: (id, { from, to }) =>
      use(() => {
        const rows = sql.finalUsage.all({ id, from, to }).map((row) => usageRow.parse(row))
        return Object.fromEntries(rows.map(({ date, used }) => [date, used]))
      }),
  }
}
