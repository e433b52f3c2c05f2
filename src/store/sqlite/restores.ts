import { z } from 'zod'
import { parseRecord } from '../parse-record.ts'
import type { RestoreStore } from '../restores.ts'
import { RESTORED_AS_OF } from './backup-stamp.ts'
import type { SqliteConnection } from './connection.ts'
import type { Statements } from './statements.ts'

const timeRow = z.object({ value: z.string().regex(/^\d+$/).transform(Number) })

/** {@link RestoreStore} on SQLite. Every writing method is one transaction. */
export function sqliteRestores({ use, transact }: SqliteConnection, sql: Statements): RestoreStore {
  return {
    findRestore: () =>
      use(() => {
        const row = sql.metaValue.get(RESTORED_AS_OF)
        return row === undefined ? null : parseRecord(timeRow, row, RESTORED_AS_OF).value
      }),
    acceptRestore: (asOf) =>
      transact(() => {
        sql.deleteMeta.run({ name: RESTORED_AS_OF, value: String(asOf) })
      }),
  }
}
