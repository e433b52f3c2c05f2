import { entryOf } from '../audit.ts'
import type { SuspensionStore } from '../suspensions.ts'
import type { SqliteAudit } from './audit.ts'
import type { SqliteConnection } from './connection.ts'
import { readRegistrations } from './rows.ts'
import type { Statements } from './statements.ts'

/** {@link SuspensionStore} on SQLite. Every writing method is one transaction. */
export function sqliteSuspensions(
  { use, transact }: SqliteConnection,
  sql: Statements,
  audit: SqliteAudit,
): SuspensionStore {
  return {
    setSuspended: (id, suspended, actor, now) =>
      transact(() => {
        const statement = suspended ? sql.suspend : sql.resume
        const newest = readRegistrations(statement.all({ id, now })).sort(byAge).at(-1)
        const action = suspended ? 'registration.suspended' : 'registration.resumed'
        if (newest !== undefined) audit.add(entryOf(action, newest, { at: now, actor }))
        return readRegistrations(sql.switchesOf.all({ id }))
      }),
    listSwitches: (now, limit) => use(() => readRegistrations(sql.switches.all({ now, limit }))),
    finishSwitch: ({ id, suspendedAt }) =>
      transact(() => sql.finishSwitch.run({ id, suspendedAt }).changes === 1),
    postponeSwitch: (id, until) =>
      transact(() => {
        sql.postponeSwitch.run({ id, until })
      }),
  }
}

function byAge(a: { createdAt: number; id: string }, b: { createdAt: number; id: string }): number {
  return a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1)
}
