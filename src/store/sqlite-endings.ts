import { readRegistration } from './sqlite-rows.ts'
import type { Statements } from './sqlite-statements.ts'
import type { Store } from './store.ts'

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
export function sqliteEndings(sql: Statements, transact: <T>(work: () => T) => Promise<T>): Endings {
  return {
    revokeRegistration: (id, now) =>
      transact(() => {
        sql.revoke.run({ id, now })
        sql.undoRotations.run({ id })
        return sql.endingOf.all({ id }).flatMap((row) => readRegistration(row) ?? [])
      }),
    endKeys: (ids, now) =>
      transact(() => ids.flatMap((id) => readRegistration(sql.endKey.get({ id, now })) ?? [])),
    listDue: (now, limit) =>
      transact(() => {
        for (const row of sql.startEndings.all({ now })) {
          sql.undoRotations.run({ id: String(row['rotation_of'] ?? row['id']) })
        }
        return sql.dueEndings.all({ now, limit }).flatMap((row) => readRegistration(row) ?? [])
      }),
    finishEndings: (ids, now) =>
      transact(() => {
        for (const id of ids) sql.finishEnding.run({ id, now })
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
