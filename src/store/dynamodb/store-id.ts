import { z } from 'zod'
import { parseRecord } from '../parse-record.ts'
import { newStoreId, storeIdSchema } from '../store-id.ts'
import type { DynamoDbConnection } from './connection.ts'
import { put, type Write } from './expressions.ts'
import { keyOf } from './item-codec.ts'

/** The key of the item about the store itself. */
export const META = keyOf('meta')
const metaItem = z.object({ storeId: storeIdSchema })

/** Returns the id of the store, and gives it one if it has none. @throws ServiceError */
export async function ensureStoreId(db: DynamoDbConnection): Promise<string> {
  const found = await db.get(META)
  // Only if there is none: of two replicas that open a new table at once, one writes, and both read its id.
  if (found === undefined) await db.write(put({ ...META, storeId: newStoreId() }))
  return parseRecord(metaItem, found ?? (await db.get(META)), 'meta').storeId
}

/** Writes the id of another store, of which this one becomes a copy. */
export function restoreStoreId(storeId: string): Write {
  return put({ ...META, storeId }, 'any')
}
