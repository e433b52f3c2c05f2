import { z } from 'zod'
import { mayHaveKey } from '../../registration/lifecycle.ts'
import {
  ACTOR_KINDS,
  AUDIT_ACTIONS,
  type AuditEntry,
  type AuditFilter,
  type AuditTrail,
  type RecordedEntry,
} from '../audit.ts'
import { identityJson, parseRecord } from '../parse-record.ts'
import { chunk } from './chunk.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Item, type Key, put, remove, type Write } from './expressions.ts'
import { readKey, sortable } from './item-codec.ts'
import { readOne, readRotations } from './reads.ts'

/** Partitions of one month, over which the entries of a burst are spread. */
const SHARDS = 4
/** The month in which the first release with an audit trail was made: no entry is older. */
const FIRST_MONTH = Date.UTC(2026, 10)
const WRITTEN_AT_ONCE = 50
const PAGE = 500
/** The largest difference between the clocks of replicas: a registration has no entry from long before it was begun. */
const CLOCKS_APART_MS = 60_000

const auditItem = z
  .object({
    sk: z.string(),
    at: z.number(),
    actorKind: z.enum(ACTOR_KINDS),
    actorId: z.string().optional(),
    action: z.enum(AUDIT_ACTIONS),
    detail: z.string().optional(),
    tokenId: z.string().optional(),
    registrationId: z.string().optional(),
    apiKeyId: z.string().optional(),
    requestId: z.string().optional(),
    clientAddress: z.string().optional(),
    identity: identityJson.optional(),
  })
  .transform(
    ({ sk, at, actorKind, actorId, action, requestId, clientAddress, identity, ...rest }): RecordedEntry => ({
      id: sk,
      at,
      actor: {
        kind: actorKind,
        id: actorId ?? null,
        requestId: requestId ?? null,
        clientAddress: clientAddress ?? null,
        identity: identity ?? null,
      },
      action,
      detail: rest.detail ?? null,
      tokenId: rest.tokenId ?? null,
      registrationId: rest.registrationId ?? null,
      apiKeyId: rest.apiKeyId ?? null,
    }),
  )

export interface DynamoDbAudit {
  /** Returns the write that records an entry, for the transaction that makes the change. */
  write(entry: AuditEntry): Write
  /** Returns the write that copies an entry of another store: the same write each time. */
  restore(entry: RecordedEntry): Write
  readonly trail: AuditTrail
}

/** @param process distinguishes the entries of this process from those of others in the same millisecond */
export function dynamoDbAudit(db: DynamoDbConnection, process: string): DynamoDbAudit {
  let written = 0

  function write(entry: AuditEntry): Write {
    written += 1
    return put(toItem(entry, `${sortable(entry.at)}#${String(written).padStart(9, '0')}${process}`))
  }

  return {
    write,
    restore: (entry) =>
      put(toItem(entry, `${sortable(entry.at)}#${numberOf(entry).padStart(9, '0')}`), 'any'),
    trail: {
      async appendAudit(entries) {
        for (const some of chunk(entries, WRITTEN_AT_ONCE)) await db.transact(some.map(write))
      },
      listAudit: (filter) => list(db, filter),
      purgeAudit: (before, limit) => purge(db, before, limit),
    },
  }
}

function toItem({ at, actor, action, ...subject }: AuditEntry, sk: string): Item & Key {
  const { detail, tokenId, registrationId, apiKeyId } = subject
  const { kind: actorKind, id: actorId, requestId, clientAddress, identity } = actor
  const item = {
    at,
    actorKind,
    actorId,
    action,
    detail,
    tokenId,
    registrationId,
    apiKeyId,
    requestId,
    clientAddress,
    identity: identity && JSON.stringify(identity),
  }
  // Derived from the sort key: a copied entry is the same item each time.
  const shard = [...sk].reduce((sum, character) => sum + character.charCodeAt(0), 0) % SHARDS
  return {
    ...Object.fromEntries(Object.entries(item).filter(([, value]) => value !== null)),
    pk: partition(at, shard),
    sk,
  }
}

/** The part of an entry's id that tells it from others of the same millisecond. */
const numberOf = ({ id }: RecordedEntry): string => id.slice(id.indexOf('#') + 1)

const partition = (at: number, shard: number) => `audit#${new Date(at).toISOString().slice(0, 7)}#${shard}`

/** The ids of entries: their time, and a number that distinguishes those of the same millisecond. */
const ENTRY_ID = /^\d{15}#[0-9a-f]+$/

async function list(db: DynamoDbConnection, filter: AuditFilter): Promise<RecordedEntry[]> {
  const { registrationId, tokenId, after, limit } = filter
  if (after !== undefined && !ENTRY_ID.test(after))
    throw new Error(`"${after}" is not the id of an audit entry`)
  const born = registrationId === undefined ? undefined : await readOne(db, registrationId)
  const since = Math.max(filter.since ?? 0, (born?.createdAt ?? 0) - CLOCKS_APART_MS)
  const found: RecordedEntry[] = []
  for await (const page of byTime(db, since, after)) {
    for (const item of page) {
      const entry = parseRecord(auditItem, item, `audit entry ${item['sk']}`)
      if (entry.at < since) continue
      if ((tokenId ?? entry.tokenId) !== entry.tokenId) continue
      if ((registrationId ?? entry.registrationId) !== entry.registrationId) continue
      found.push(entry)
      if (found.length === limit) return found
    }
  }
  return found
}

/** Reads entries month by month, newest first, back to `since`, and merges the shards of each month. */
async function* byTime(
  db: DynamoDbConnection,
  since: number,
  after: string | undefined,
): AsyncGenerator<Item[]> {
  const newest = after === undefined ? Date.now() + 366 * 86_400_000 : Number(after.split('#')[0])
  const bound = after ?? '~' // Sorts after every time.
  for (const month of monthsBack(newest, Math.max(since, 0))) {
    const shards = Array.from({ length: SHARDS }, (_, shard) =>
      db.query({
        where: '#pk = :pk AND #sk < :bound',
        values: { ':pk': partition(month, shard), ':bound': bound },
        descending: true,
        pageSize: PAGE,
      }),
    )
    yield* merged(shards)
  }
}

/** The first millisecond of each month, from the month of `newest` back to that of `oldest`. */
function monthsBack(newest: number, oldest: number): number[] {
  const months: number[] = []
  const first = Math.max(oldest, FIRST_MONTH)
  for (let at = new Date(newest); ; at = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() - 1))) {
    const month = Date.UTC(at.getUTCFullYear(), at.getUTCMonth())
    months.push(month)
    if (month <= first) return months
  }
}

/** Merges several sources, each newest first, into one, newest first. */
async function* merged(sources: readonly AsyncGenerator<Item[]>[]): AsyncGenerator<Item[]> {
  const heads = await Promise.all(
    sources.map(async (source) => ({ source, items: [...((await source.next()).value ?? [])] as Item[] })),
  )
  for (;;) {
    let latest: (typeof heads)[number] | undefined
    for (const head of heads) {
      const [first] = head.items
      if (first === undefined) continue
      const [newest] = latest?.items ?? []
      if (newest === undefined || readKey(first).sk > readKey(newest).sk) latest = head
    }
    const next = latest?.items.shift()
    if (latest === undefined || next === undefined) return
    if (latest.items.length === 0) latest.items = [...((await latest.source.next()).value ?? [])]
    yield [next]
  }
}

async function purge(db: DynamoDbConnection, before: number, limit: number): Promise<number> {
  const spared = new Map<string, Promise<boolean>>()
  let removed = 0
  for (const month of monthsBack(before, FIRST_MONTH).reverse()) {
    for (let shard = 0; shard < SHARDS; shard++) {
      const values = { ':pk': partition(month, shard), ':bound': sortable(before) }
      for await (const page of db.query({ where: '#pk = :pk AND #sk < :bound', values })) {
        const old: Item[] = []
        for (const item of page) {
          const { registrationId } = parseRecord(auditItem, item, `audit entry ${item['sk']}`)
          if (registrationId !== null && (await isSpared(registrationId))) continue
          old.push(item)
        }
        const due = old.slice(0, limit - removed)
        await db.each(due, (item) => db.write(remove(readKey(item))))
        removed += due.length
        if (removed === limit) return removed
      }
    }
  }
  return removed

  /** Reports whether API Gateway may still hold a key of a registration. */
  function isSpared(registrationId: string): Promise<boolean> {
    const known = spared.get(registrationId)
    if (known !== undefined) return known
    const looking = hasKey(db, registrationId)
    spared.set(registrationId, looking)
    return looking
  }
}

async function hasKey(db: DynamoDbConnection, registrationId: string): Promise<boolean> {
  const all = [await readOne(db, registrationId), ...(await readRotations(db, registrationId))]
  return all.some((one) => one !== undefined && mayHaveKey(one))
}
