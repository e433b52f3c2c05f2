import { entryOf, SERVICE } from '../audit.ts'
import type { Store } from '../store.ts'
import type { SqliteAudit } from './audit.ts'
import { readRegistration } from './rows.ts'
import type { Statements } from './statements.ts'

type Endings = Pick<
  Store,
  | 'revokeRegistration'
  | 'endKeys'
  | 'listDue'
  | 'finishEndings'
  | 'postponeEnding'
  | 'takeDuty'
  | 'releaseDuty'
>

/** The part of the store in which keys come to their end. */
export function sqliteEndings(
  sql: Statements,
  audit: SqliteAudit,
  transact: <T>(work: () => T) => Promise<T>,
): Endings {
  return {
    revokeRegistration: (id, actor, now) =>
      transact(() => {
        const newest = readRegistration(sql.newestToRevoke.get({ id }))
        sql.revoke.run({ id, now })
        sql.undoPending.run({ id })
        if (newest !== undefined) audit.add(entryOf('registration.revoked', newest, { at: now, actor }))
        return sql.endingOf.all({ id }).flatMap((row) => readRegistration(row) ?? [])
      }),
    endKeys: (ids, actor, now) =>
      transact(() => {
        const ending = ids.flatMap((id) => readRegistration(sql.endKey.get({ id, now })) ?? [])
        for (const one of ending) {
          sql.undoRotations.run({ id: one.rotation?.of ?? one.id })
          audit.add(entryOf('registration.revoked', one, { at: now, actor, detail: 'key_missing' }))
        }
        return ending
      }),
    listDue: (now, limit) =>
      transact(() => {
        for (const row of sql.startEndings.all({ now })) {
          const one = readRegistration(row)
          if (one === undefined) continue
          sql.undoRotations.run({ id: one.rotation?.of ?? one.id })
          if (one.endReason === 'expired')
            audit.add(entryOf('registration.expired', one, { at: now, actor: SERVICE }))
        }
        return sql.dueEndings.all({ now, limit }).flatMap((row) => readRegistration(row) ?? [])
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
    takeDuty: (name, lease, now) => transact(() => sql.takeDuty.run({ name, ...lease, now }).changes === 1),
    releaseDuty: (name, owner) =>
      transact(() => {
        sql.releaseDuty.run({ name, owner })
      }),
  }
}
