import type { DynamoDbConnection } from './connection.ts'
import { keyOf, readRegistration, type StoredRegistration } from './items.ts'

/** The registration or rotation of this id, if there is one. */
export async function readOne(db: DynamoDbConnection, id: string): Promise<StoredRegistration | undefined> {
  return readRegistration(await db.get(keyOf(id)))
}

/** Of these the registrations and rotations that there are, by their ids. */
export async function readAll(
  db: DynamoDbConnection,
  ids: readonly string[],
): Promise<Map<string, StoredRegistration>> {
  const items = await db.getAll(ids.map(keyOf))
  return new Map(items.flatMap((item) => readRegistration(item) ?? []).map((one) => [one.id, one]))
}

/** What was begun to rotate a registration, oldest first. */
export async function readRotations(db: DynamoDbConnection, rootId: string): Promise<StoredRegistration[]> {
  const ids: string[] = []
  const where = '#pk = :pk AND begins_with(#sk, :prefix)'
  for await (const page of db.query({ where, values: { ':pk': rootId, ':prefix': 'rotation#' } }))
    ids.push(...page.map(({ rotationId }) => String(rotationId)))
  const found = await readAll(db, ids)
  return ids.flatMap((id) => found.get(id) ?? [])
}

/** A registration, and the registration or rotation whose key it has now. */
export interface Pair {
  readonly root: StoredRegistration
  readonly current: StoredRegistration
}

/** `undefined`: there is no such registration. */
export async function readPair(db: DynamoDbConnection, rootId: string): Promise<Pair | undefined> {
  const root = await readOne(db, rootId)
  if (root === undefined) return undefined
  const current = root.currentId === null ? root : await readOne(db, root.currentId)
  return current && { root, current }
}
