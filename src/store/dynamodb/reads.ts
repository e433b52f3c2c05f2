import type { DynamoDbConnection } from './connection.ts'
import type { Item, Key } from './expressions.ts'
import {
  keyOf,
  readKey,
  readLink,
  readRegistration,
  type StoredRegistration,
  shards,
  switchedId,
} from './item-codec.ts'

/** The registration or rotation with this id. */
export async function readOne(db: DynamoDbConnection, id: string): Promise<StoredRegistration | undefined> {
  return readRegistration(await db.get(keyOf(id)))
}

/** The registration or rotation with this id. @throws Error if it is missing: another record refers to it */
export async function readReferenced(db: DynamoDbConnection, id: string): Promise<StoredRegistration> {
  const one = await readOne(db, id)
  if (one === undefined) throw missing(id)
  return one
}

/** An impossible state: a record and those that refer to it are written together, and none is ever removed. */
function missing(id: string): Error {
  return new Error(`the record ${id}, which another record refers to, is missing`)
}

/** The registrations and rotations with these ids, by id; ids that do not exist are left out. */
export async function readAll(
  db: DynamoDbConnection,
  ids: readonly string[],
): Promise<Map<string, StoredRegistration>> {
  const items = await db.getAll(ids.map(keyOf))
  return new Map(items.flatMap((item) => readRegistration(item) ?? []).map((one) => [one.id, one]))
}

/** The rotations that were begun for a registration, oldest first. */
export async function readRotations(db: DynamoDbConnection, rootId: string): Promise<StoredRegistration[]> {
  const ids: string[] = []
  const where = '#pk = :pk AND begins_with(#sk, :prefix)'
  for await (const page of db.query({ where, values: { ':pk': rootId, ':prefix': 'rotation#' } }))
    ids.push(...page.map(readLink))
  const found = await readAll(db, ids)
  return ids.map((id) => {
    const one = found.get(id)
    if (one === undefined) throw missing(id)
    return one
  })
}

/** A registration, and the registration or rotation that minted its present key. */
export interface Pair {
  readonly root: StoredRegistration
  readonly current: StoredRegistration
}

/** A registration with the record of its present key; `undefined`: there is no such registration. */
export async function readPair(db: DynamoDbConnection, rootId: string): Promise<Pair | undefined> {
  const root = await readOne(db, rootId)
  if (root === undefined) return undefined
  return { root, current: root.currentId === null ? root : await readReferenced(db, root.currentId) }
}

interface Range {
  readonly to: number
  readonly limit: number
  /** `before`: `to` itself is excluded. */
  readonly bound?: 'upTo' | 'before'
  /** Also what lies beyond this time, which no clock that is right wrote. */
  readonly beyond?: number
}

/** Entries of an index that one query returns. */
const LARGEST_PAGE = 500

/** The work of an index, by the name of its partitions. */
type Work = 'open' | 'remembered' | 'undelivered' | 'ends' | 'revoked' | 'rotated'

/** The ids of items that an index has under a kind of work, from the earliest to `to`: up to `limit` of each shard. */
export function readDue(db: DynamoDbConnection, kind: Work, range: Range): Promise<string[]> {
  return readShards(db, kind, range, (ids) => ids)
}

/**
 * The registrations and rotations that an index has under a kind of work, from the earliest to `to`, and that `choose`
 * chooses: up to `limit` of each shard. Those that it leaves out do not count, however many come first.
 */
export function readChosen(
  db: DynamoDbConnection,
  kind: Work,
  range: Range,
  choose: Choice<readonly StoredRegistration[], StoredRegistration>,
): Promise<StoredRegistration[]> {
  return readShards(db, kind, range, async (ids) => choose([...(await readAll(db, ids)).values()]))
}

/** Up to `limit` of what `choose` makes of the keys of reservations of uses, from the earliest to `to`. */
export function readSpent<T>(
  db: DynamoDbConnection,
  range: Range,
  choose: Choice<readonly Key[], T>,
): Promise<T[]> {
  return readPartition(db, 'open', 'spent', range, choose)
}

/** Up to `limit` of what `choose` chooses of the registrations whose keys are to be switched by `to`, the longest due first. */
export function readSwitches(
  db: DynamoDbConnection,
  range: Range,
  choose: Choice<readonly StoredRegistration[], StoredRegistration>,
): Promise<StoredRegistration[]> {
  return readPartition(db, 'open', 'switch', range, async (items) => {
    const ids = items.map(({ pk }) => switchedId(pk))
    const read = await readAll(db, ids)
    return choose(ids.flatMap((id) => read.get(id) ?? []))
  })
}

type Choice<Page, T> = (page: Page) => readonly T[] | Promise<readonly T[]>

async function readShards<T>(
  db: DynamoDbConnection,
  kind: Work,
  range: Range,
  choose: Choice<readonly string[], T>,
): Promise<T[]> {
  const read = (shard: number) =>
    readPartition(db, kind, `${kind}#${shard}`, range, (keys) => choose(keys.map(({ pk }) => pk)))
  return (await Promise.all(shards.map(read))).flat()
}

async function readPartition<T>(
  db: DynamoDbConnection,
  kind: Work,
  partition: string,
  { to, limit, bound = 'upTo', beyond }: Range,
  choose: Choice<readonly Key[], T>,
): Promise<T[]> {
  const index = kind === 'ends' || kind === 'revoked' || kind === 'rotated' ? 'ends' : 'work'
  const upTo = `#${index}At ${bound === 'upTo' ? '<=' : '<'} :to`
  // A key condition has one range. There is little between the two, so all is read, and chosen here.
  const where = `#${index} = :partition${beyond === undefined ? ` AND ${upTo}` : ''}`
  const values = { ':partition': partition, ...(beyond === undefined ? { ':to': to } : {}) }
  const isInRange = (item: Item) =>
    beyond === undefined || !(Number(item[`${index}At`]) > to && Number(item[`${index}At`]) <= beyond)
  const chosen: T[] = []
  for await (const page of db.query({ index, where, values, pageSize: Math.min(limit, LARGEST_PAGE) })) {
    chosen.push(...(await choose(page.filter(isInRange).map(readKey))))
    if (chosen.length >= limit) break
  }
  return chosen.slice(0, limit)
}
