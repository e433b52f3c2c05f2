import type { DatabaseSync } from 'node:sqlite'
import { z } from 'zod'
import { parseRecord } from '../parse-record.ts'
import { newStoreId, storeIdSchema } from '../store-id.ts'

const STORE_ID = 'store_id'
const idRow = z.object({ value: storeIdSchema })

/**
 * Returns the id of the store, and gives it one if it has none. The caller holds a write transaction, so that of two
 * processes that open a new file at once, the second reads the id of the first.
 */
export function ensureStoreId(db: DatabaseSync): string {
  db.prepare('INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING').run(
    STORE_ID,
    newStoreId(),
  )
  const row = db.prepare('SELECT value FROM meta WHERE name = ?').get(STORE_ID)
  return parseRecord(idRow, row, 'the id of the store').value
}
