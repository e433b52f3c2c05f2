import type { BootstrapToken, NewRegistration } from '../records.ts'
import type { AbandonedUses } from '../upkeep.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, type Key, put, remove, update, type Write } from './expressions.ts'
import { keyOf, readSpend, readToken, spentAt } from './item-codec.ts'
import { readSpent } from './reads.ts'
import { withoutLease } from './work-leases.ts'

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
  return update(keyOf(tokenId), { add: { uses: count, usesLeft: -count } }, isUsable)
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
  const { expiresAt, maxUses, uses, revokedAt } = token
  const inTime = registrations.filter(({ createdAt }) => expiresAt === null || expiresAt > createdAt).length
  const left = revokedAt === null ? Math.min(inTime, maxUses === null ? inTime : maxUses - uses) : 0
  const allowed = Math.max(0, left)
  return { allowed, token: { ...token, uses: uses + allowed } }
}

/**
 * Uses that are spent for registrations which other transactions are about to write. Each of those transactions removes its
 * reservation, so that what a dead process leaves can be refunded.
 */
export interface Reservation {
  readonly key: Key
  readonly tokenId: string
  readonly count: number
}

export function reservation(owner: string, place: string, tokenId: string, count: number): Reservation {
  return { key: keyOf(`spend#${owner}#${place}`), tokenId, count }
}

export function reserve({ key, tokenId, count }: Reservation, leaseOwner: string, now: number): Write {
  return put({ ...key, tokenId, count, leaseOwner, ...spentAt(now) })
}

/** Removes a reservation. Its condition lets it be used, or refunded, once. */
export function takeReservation({ key }: Reservation): Write {
  return remove(key, { when: 'attribute_exists(#pk)' })
}

/** The reservations whose lease has expired, the oldest first, at most `limit`. */
export async function readAbandoned(
  db: DynamoDbConnection,
  now: number,
  limit: number,
): Promise<Reservation[]> {
  const abandoned = await readSpent(db, { to: now, limit }, async (ids) =>
    withoutLease(db, (await db.getAll(ids.map(keyOf))).map(readSpend), now),
  )
  return abandoned.map(({ pk, tokenId, count }) => ({ key: keyOf(pk), tokenId, count }))
}

/** Refunds reservations. Of two processes that refund the same one, the second finds it gone. @returns the refunded ones */
export async function refundAbandoned(
  db: DynamoDbConnection,
  abandoned: readonly Reservation[],
): Promise<AbandonedUses[]> {
  const refunded: AbandonedUses[] = []
  for (const one of abandoned) {
    const { tokenId, count } = one
    const unmet = await db.transact([takeReservation(one), refund(tokenId, count)])
    if (unmet.length === 0) refunded.push({ tokenId, count })
  }
  return refunded
}
