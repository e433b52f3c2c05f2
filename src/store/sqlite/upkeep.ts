import { z } from 'zod'
import { entryOf, SERVICE } from '../audit.ts'
import type { UpkeepStore } from '../upkeep.ts'
import type { SqliteAudit } from './audit.ts'
import type { SqliteConnection } from './connection.ts'
import { sqlitePlaces } from './places.ts'
import { countRow, readRegistration, readRegistrations } from './rows.ts'
import type { Statements } from './statements.ts'

const workRow = z.object({ pending: z.int(), inDoubt: z.int(), ending: z.int(), failing: z.int() })

/** {@link UpkeepStore} on SQLite. Every writing method is one transaction, so that each is atomic as a whole. */
export function sqliteUpkeep(
  { use, transact }: SqliteConnection,
  sql: Statements,
  audit: SqliteAudit,
): UpkeepStore {
  const places = sqlitePlaces(sql)
  return {
    listRecoverable: (now, limit) => use(() => readRegistrations(sql.recoverable.all({ now, limit }))),
    // A use is spent in the transaction that records its registration: none can be abandoned.
    listAbandonedUses: async () => [],
    refundAbandonedUses: async () => [],
    finishSweeps: (ids, dueBy) =>
      transact(() => {
        for (const id of ids) sql.finishSweep.run({ id, dueBy })
      }),

    listInDoubt: (answeredBy, limit) => use(() => readRegistrations(sql.inDoubt.all({ answeredBy, limit }))),

    listDue: (now, limit, endedBy = now) =>
      use(() => readRegistrations(sql.due.all({ now, limit, endedBy }))),
    countWork: ({ now, answeredBy, expiringBy }) =>
      use(() => ({
        ...workRow.parse(sql.countWork.get({ now, answeredBy })),
        expiring: expiringBy.map((by) => countRow.parse(sql.countExpiring.get({ by })).count),
      })),
    startEndings: (ids, now) =>
      transact(() => {
        const started = places.releaseAll(ids.map((id) => sql.startEnding.get({ id, now })))
        for (const one of started) {
          sql.undoRotations.run({ id: one.rotation?.of ?? one.id })
          if (one.endReason === 'expired')
            audit.add(entryOf('registration.expired', one, { at: now, actor: SERVICE }))
        }
        return started
      }),
    saveUsage: (id, usage) =>
      transact(() => {
        sql.saveUsage.run({ id, usage: JSON.stringify(usage) })
      }),
    finishEndings: (ids, now) =>
      transact(() => {
        for (const id of ids) {
          const one = readRegistration(sql.finishEnding.get({ id, now }))
          if (one === undefined) continue
          audit.add(entryOf('key.deleted', one, { at: now, actor: SERVICE, detail: one.endReason }))
        }
      }),
    postponeEnding: (id, failure, until) =>
      transact(() => {
        sql.postponeEnding.run({ id, failure, until })
      }),

    purgeProofs: (before, limit) =>
      transact(() => {
        const removed = [sql.purgeProofs, sql.purgeAccessTokens].map(
          (one) => one.run({ before, limit }).changes,
        )
        return Math.max(...removed.map(Number))
      }),

    takeLeaderLease: (name, lease, now) =>
      transact(() => sql.takeLeaderLease.run({ name, ...lease, now }).changes === 1),
    releaseLeaderLease: (name, owner) =>
      transact(() => {
        sql.releaseLeaderLease.run({ name, owner })
      }),
  }
}
