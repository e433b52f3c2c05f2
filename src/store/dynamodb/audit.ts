import { z } from 'zod'
import {
  ACTOR_KINDS,
  AUDIT_ACTIONS,
  type AuditEntry,
  type AuditFilter,
  type AuditTrail,
  type RecordedEntry,
} from '../audit.ts'
import type { DynamoDbConnection } from './connection.ts'
import { sortable } from './items.ts'
import { inPortions } from './portions.ts'
import { readOne, readRotations } from './reads.ts'
import { type Item, type Key, put, remove, type Write } from './writes.ts'

/** Partitions of one month: entries of a burst are spread over them. */
const SHARDS = 4
/** No entry is older: there was no audit trail. */
const FIRST_MONTH = Date.UTC(2026, 10)
const WRITTEN_AT_ONCE = 50
const PAGE = 500
/** How far the clocks of replicas may be apart: nothing is recorded of a registration long before it was begun. */
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
  })
  .transform(
    ({ sk, at, actorKind, actorId, action, requestId, clientAddress, ...rest }): RecordedEntry => ({
      id: sk,
      at,
      actor: {
        kind: actorKind,
        id: actorId ?? null,
        requestId: requestId ?? null,
        clientAddress: clientAddress ?? null,
      },
      action,
      detail: rest.detail ?? null,
      tokenId: rest.tokenId ?? null,
      registrationId: rest.registrationId ?? null,
      apiKeyId: rest.apiKeyId ?? null,
    }),
  )

export interface DynamoDbAudit {
  /** The write that records an entry, for the transaction that makes it true. */
  write(entry: AuditEntry): Write
  /** The write that records an entry of another store under the id that it has there: the same one each time. */
  restore(entry: RecordedEntry): Write
  readonly trail: AuditTrail
}

/** @param process tells the entries of this process from those of others in the same millisecond */
export function dynamoDbAudit(db: DynamoDbConnection, process: string): DynamoDbAudit {
  let written = 0

  function write(entry: AuditEntry): Write {
    written += 1
    return put(toItem(entry, `${sortable(entry.at)}#${String(written).padStart(9, '0')}${process}`))
  }

  return {
    write,
    restore: (entry) => put(toItem(entry, `${sortable(entry.at)}#${entry.id.padStart(9, '0')}`), 'any'),
    trail: {
      async appendAudit(entries) {
        for (const portion of inPortions(entries, WRITTEN_AT_ONCE)) await db.transact(portion.map(write))
      },
      listAudit: (filter) => list(db, filter),
      purgeAudit: (before, limit) => purge(db, before, limit),
    },
  }
}

function toItem({ at, actor, action, ...subject }: AuditEntry, sk: string): Item & Key {
  const { detail, tokenId, registrationId, apiKeyId } = subject
  const { kind: actorKind, id: actorId, requestId, clientAddress } = actor
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
  }
  // An entry always comes to the same one.
  const shard = [...sk].reduce((sum, character) => sum + character.charCodeAt(0), 0) % SHARDS
  return {
    ...Object.fromEntries(Object.entries(item).filter(([, value]) => value !== null)),
    pk: partition(at, shard),
    sk,
  }
}

const partition = (at: number, shard: number) => `audit#${new Date(at).toISOString().slice(0, 7)}#${shard}`

async function list(db: DynamoDbConnection, filter: AuditFilter): Promise<RecordedEntry[]> {
  const { registrationId, tokenId, after, limit } = filter
  const born = registrationId === undefined ? undefined : await readOne(db, registrationId)
  const since = Math.max(filter.since ?? 0, (born?.createdAt ?? 0) - CLOCKS_APART_MS)
  const found: RecordedEntry[] = []
  for await (const page of byTime(db, since, after)) {
    for (const item of page) {
      const entry = auditItem.parse(item)
      if (entry.at < since) continue
      if ((tokenId ?? entry.tokenId) !== entry.tokenId) continue
      if ((registrationId ?? entry.registrationId) !== entry.registrationId) continue
      found.push(entry)
      if (found.length === limit) return found
    }
  }
  return found
}

/** Month by month, back to `since`; the shards of a month are merged. */
async function* byTime(
  db: DynamoDbConnection,
  since: number,
  after: string | undefined,
): AsyncGenerator<Item[]> {
  const newest = after === undefined ? Date.now() + 366 * 86_400_000 : Number(after.split('#')[0])
  const bound = after ?? '~' // After every time.
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

/** The first moments of the months from that of `newest` back to that of `oldest`. */
function monthsBack(newest: number, oldest: number): number[] {
  const months: number[] = []
  const first = Math.max(oldest, FIRST_MONTH)
  for (let at = new Date(newest); ; at = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() - 1))) {
    const month = Date.UTC(at.getUTCFullYear(), at.getUTCMonth())
    months.push(month)
    if (month <= first) return months
  }
}

/** Pages of several sources, each newest first, as one, newest first. */
async function* merged(sources: readonly AsyncGenerator<Item[]>[]): AsyncGenerator<Item[]> {
  const heads = await Promise.all(
    sources.map(async (source) => ({ source, items: [...((await source.next()).value ?? [])] as Item[] })),
  )
  for (;;) {
    let latest: (typeof heads)[number] | undefined
    for (const head of heads) {
      const [first] = head.items
      if (first === undefined) continue
      if (latest === undefined || String(first['sk']) > String(latest.items[0]?.['sk'])) latest = head
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
          const of = item['registrationId']
          if (of !== undefined && (await isSpared(String(of)))) continue
          old.push(item)
        }
        const going = old.slice(0, limit - removed)
        await db.each(going, ({ pk, sk }) => db.write(remove({ pk: String(pk), sk: String(sk) })))
        removed += going.length
        if (removed === limit) return removed
      }
    }
  }
  return removed

  /** Whether a key of a registration is still there. */
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
  return all.some((one) => ['pending', 'active', 'ending'].includes(one?.status ?? ''))
}
