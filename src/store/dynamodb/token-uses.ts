import { holdsUse, LONGEST_AHEAD_MS } from '../../registration/lifecycle.ts'
import type { HeldUses } from '../minting.ts'
import { type BootstrapToken, hasUseLeft, mostUses, type NewRegistration } from '../records.ts'
import type { AbandonedUses } from '../upkeep.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, type Item, type Key, put, remove, update, type Write } from './expressions.ts'
import {
  keyOf,
  NOT_OPEN,
  readSpend,
  readToken,
  SPEND,
  type StoredRegistration,
  spendKey,
  spentAt,
  toRegistration,
} from './item-codec.ts'
import { readAll, readSpent } from './reads.ts'
import { readLeases, withoutLease } from './work-leases.ts'

/** The registrations of one token, and its id. */
export type TokenGroup = readonly [
  tokenId: string,
  registrations: readonly [NewRegistration, ...NewRegistration[]],
]
/** The writes of a token for registrations that are written with it: the spend of its uses, and the record of that. */
export const WRITES_OF_A_TOKEN = 2

/** Splits registrations by their tokens. */
export function groupByToken(registrations: readonly NewRegistration[]): TokenGroup[] {
  return [...Map.groupBy(registrations, ({ tokenId }) => tokenId)].flatMap(([tokenId, [first, ...others]]) =>
    first === undefined ? [] : [[tokenId, [first, ...others]] as const],
  )
}

/**
 * Spends uses of one token for these registrations. Compare-and-swap: of registrations that race for the last use, in this
 * process or another, only one finds that enough is left. A revocation that is committed first is seen here too.
 */
export function spend(tokenId: string, registrations: readonly NewRegistration[]): Write {
  const count = registrations.length
  const now = Math.max(...registrations.map(({ createdAt }) => createdAt))
  const isUsable: Condition = {
    when:
      'attribute_exists(#pk) AND attribute_not_exists(#revokedAt) AND #usesLeft >= :count AND ' +
      '(attribute_not_exists(#expiresAt) OR #expiresAt > :now)',
    values: { count, now },
  }
  return update(keyOf(tokenId), { add: { uses: count, usesLeft: -count, spends: 1 } }, isUsable)
}

/** Refunds uses of a token. */
export function refund(tokenId: string, count: number): Write {
  return update(keyOf(tokenId), { add: { uses: -count, usesLeft: count } })
}

/**
 * Reads a token that refused registrations, and how many of them it allows after all.
 * @returns `token`: as the registrations beyond `allowed` find it; `null`: it does not exist
 */
export async function whyRefused(
  db: DynamoDbConnection,
  tokenId: string,
  registrations: readonly NewRegistration[],
): Promise<{ allowed: number; token: BootstrapToken | null }> {
  const token = readToken(await db.get(keyOf(tokenId)))
  if (token === undefined) return { allowed: 0, token: null }
  const { expiresAt, uses, revokedAt } = token
  const most = mostUses(token)
  const inTime = registrations.filter(({ createdAt }) => expiresAt === null || expiresAt > createdAt).length
  const left = revokedAt === null ? Math.min(inTime, most === null ? inTime : most - uses) : 0
  const allowed = Math.max(0, left)
  return { allowed, token: { ...token, uses: uses + allowed } }
}

/**
 * Uses that are spent for registrations which other transactions are about to write. Each of those transactions turns its
 * reservation into the record of a spend, so that what a dead process leaves can be refunded.
 */
export interface Reservation {
  readonly key: Key
  readonly tokenId: string
  readonly count: number
}

/** A reservation for these registrations of a token. */
export function reservation(
  tokenId: string,
  registrations: readonly [NewRegistration, ...NewRegistration[]],
): Reservation {
  const [{ id, createdAt }] = registrations
  return { key: spendKey(tokenId, createdAt, id), tokenId, count: registrations.length }
}

export function reserve({ key, count }: Reservation, leaseOwner: string, now: number): Write {
  return put({ ...key, count, leaseOwner, ...spentAt(now) })
}

/** The reservation was neither used nor refunded: it can be once. */
const IS_RESERVED: Condition = { when: 'attribute_exists(#leaseOwner)' }

/** Turns a reservation into the record of a spend for these registrations; without any, nothing is left of it. */
export function takeReservation({ key }: Reservation, registrations: readonly NewRegistration[]): Write {
  if (registrations.length === 0) return remove(key, IS_RESERVED)
  return update(key, { set: { ...spentFor(registrations), leaseOwner: undefined, ...NOT_OPEN } }, IS_RESERVED)
}

/** The record of which registrations uses of a token are spent for. It is written together with them. */
export function spendRecord(
  tokenId: string,
  registrations: readonly [NewRegistration, ...NewRegistration[]],
): Item & Key {
  return { ...reservation(tokenId, registrations).key, ...spentFor(registrations) }
}

/** Seconds after which DynamoDB removes the record of a spend. Its registrations have long been answered or undone. */
const SPEND_TTL_S = 30 * 86_400

function spentFor(registrations: readonly NewRegistration[]) {
  const last = Math.max(...registrations.map(({ createdAt }) => createdAt))
  return {
    count: registrations.length,
    ids: registrations.map(({ id }) => id),
    ttl: Math.ceil(last / 1_000) + SPEND_TTL_S,
  }
}

const isReserved = ({ leaseOwner }: { leaseOwner?: string | undefined }): boolean => leaseOwner !== undefined

/** The reservations whose lease has expired, the oldest first, at most `limit`. */
export async function readAbandoned(
  db: DynamoDbConnection,
  now: number,
  limit: number,
): Promise<Reservation[]> {
  const abandoned = await readSpent(db, { to: now, limit, beyond: now + LONGEST_AHEAD_MS }, async (keys) =>
    withoutLease(db, (await db.getAll(keys)).map(readSpend).filter(isReserved), now),
  )
  return abandoned.map(({ pk, sk, count }) => ({ key: { pk, sk }, tokenId: pk, count }))
}

/** Refunds reservations. Of two processes that refund the same one, the second finds it gone. @returns the refunded ones */
export async function refundAbandoned(
  db: DynamoDbConnection,
  abandoned: readonly Reservation[],
): Promise<AbandonedUses[]> {
  const refunded: AbandonedUses[] = []
  for (const { key, tokenId, count } of abandoned) {
    const unmet = await db.transact([remove(key, IS_RESERVED), refund(tokenId, count)])
    if (unmet.length === 0) refunded.push({ tokenId, count })
  }
  return refunded
}

/** Spends that one query returns, and the registrations after which a reading ends: the next one continues. */
const SPENDS_AT_ONCE = 10
const MOST_READ = 1_000

/**
 * {@link MintingStore.findHeldUses}. Removes the records of spends that are final, so that they are read once: a token may
 * have thousands.
 */
export async function findHeldUses(
  db: DynamoDbConnection,
  tokenId: string,
  limit: number,
): Promise<HeldUses> {
  for (;;) {
    const before = await readUses(db, tokenId)
    const found = await readHeld(db, tokenId, limit)
    const after = await readUses(db, tokenId)
    // A use that was refunded and spent again since the reading began may have escaped it.
    if (after.isOneLeft || before.spends === after.spends) return { isOneLeft: after.isOneLeft, ...found }
  }
}

async function readUses(db: DynamoDbConnection, tokenId: string) {
  const item = await db.get(keyOf(tokenId))
  const token = readToken(item)
  return { isOneLeft: token !== undefined && hasUseLeft(token), spends: item?.['spends'] }
}

async function readHeld(db: DynamoDbConnection, tokenId: string, limit: number) {
  const held: { registration: StoredRegistration | null; leaseOwner: string | undefined }[] = []
  let read = 0
  let isComplete = true
  const where = '#pk = :pk AND begins_with(#sk, :prefix)'
  const values = { ':pk': tokenId, ':prefix': SPEND }
  for await (const page of db.query({ where, values, pageSize: SPENDS_AT_ONCE })) {
    const spends = page.map(readSpend)
    const registrations = await readAll(
      db,
      spends.flatMap(({ ids }) => ids),
    )
    for (const { pk, sk, ids, leaseOwner } of spends) {
      const own = ids.flatMap((id) => registrations.get(id) ?? []).filter(holdsUse)
      if (leaseOwner !== undefined) held.push({ registration: null, leaseOwner })
      else if (own.length === 0) await db.write(remove({ pk, sk }))
      held.push(...own.map((one) => ({ registration: one, leaseOwner: one.leaseOwner })))
    }
    read += registrations.size
    if (held.length >= limit || read >= MOST_READ) {
      isComplete = false
      break
    }
  }
  const leases = await readLeases(
    db,
    held.flatMap(({ leaseOwner }) => leaseOwner ?? []),
  )
  return {
    held: held.slice(0, limit).map(({ registration, leaseOwner }) => ({
      registration: registration && toRegistration(registration),
      // A lease without an item expired long ago.
      leaseUntil: leaseOwner === undefined ? null : (leases.get(leaseOwner) ?? 0),
    })),
    isComplete,
  }
}
