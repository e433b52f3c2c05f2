import type { TableDescription } from '@aws-sdk/client-dynamodb'
import { z } from 'zod'
import { parseRecord } from '../parse-record.ts'
import type { RestoreStore } from '../restores.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, update } from './expressions.ts'
import { removePoolKeysUntil } from './pool-items.ts'
import { META } from './store-id.ts'

const metaItem = z.object({ tableId: z.string().optional(), restoredAsOf: z.number().optional() })

/** {@link RestoreStore} on DynamoDB. */
export function dynamoDbRestores(db: DynamoDbConnection): RestoreStore {
  return {
    findRestore: async () => (await readMeta(db)).restoredAsOf ?? null,
    async acceptRestore(asOf) {
      if ((await readMeta(db)).restoredAsOf !== asOf) return
      // First the pool keys of the backup, which are hidden until then: a crash in between leaves the restore to be accepted.
      await removePoolKeysUntil(db, asOf)
      const isSame: Condition = { when: '#restoredAsOf = :asOf', values: { asOf } }
      await db.write(update(META, { set: { restoredAsOf: undefined } }, isSame))
    },
  }
}

/**
 * Notes which table has the records. A restore always makes a new table, with the records of another: then it notes that the
 * store was restored, as of the creation of the table. Of two replicas that open it at once, one does. An endpoint that does
 * not identify its tables has no restores.
 * @throws ServiceError
 */
export async function noteTable(
  db: DynamoDbConnection,
  { TableId: tableId, CreationDateTime: createdAt }: TableDescription,
): Promise<void> {
  if (tableId === undefined || createdAt === undefined) return
  const before = (await readMeta(db)).tableId
  if (before === tableId) return
  const isSame: Condition =
    before === undefined
      ? { when: 'attribute_not_exists(#tableId)' }
      : { when: '#tableId = :before', values: { before } }
  const restored = before === undefined ? {} : { restoredAsOf: createdAt.getTime() }
  await db.write(update(META, { set: { tableId, ...restored } }, isSame))
}

async function readMeta(db: DynamoDbConnection) {
  return parseRecord(metaItem, (await db.get(META)) ?? {}, 'meta')
}
