import type { BootstrapToken, NewRegistration } from '../records.ts'
import type { DynamoDbConnection } from './connection.ts'
import { keyOf, leaseKey, openAt, readToken } from './items.ts'
import { type Condition, type Item, type Key, put, remove, update, type Write } from './writes.ts'

/**
 * Spends the uses of one token for these registrations. Compare-and-swap: registrations that race for the last use, in
 * this process or another, meet in this one item, and only one of them finds that enough is left. A revocation that lands
 * first is seen here too.
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

/** Gives uses of a token back. */
export function giveBack(tokenId: string, count: number): Write {
  return update(keyOf(tokenId), { add: { uses: -count, usesLeft: count } })
}

/** Of registrations that were refused together: how many the token allows after all, and how the others find it. */
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
 * Uses that are spent, for registrations that are about to be written by other transactions. Each of those takes its
 * reservation away, so that what is left when a process dies can be given back.
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
  return put({ ...key, tokenId, count, leaseOwner, ...openAt(tokenId, now) })
}

/** Its condition lets a reservation be used, or given back, once. */
export function takeReservation({ key }: Reservation): Write {
  return remove(key, { when: 'attribute_exists(#pk)' })
}

export const isReservation = ({ pk }: Item): boolean => String(pk).startsWith('spend#')

/** Gives back what a process that died had spent and not used. Whoever comes first does; the others find it gone. */
export async function giveBackAbandoned(
  db: DynamoDbConnection,
  found: readonly Item[],
  now: number,
): Promise<void> {
  const reservations = await db.getAll(found.map(({ pk }) => keyOf(String(pk))))
  for (const { pk, tokenId, count, leaseOwner } of reservations) {
    const lease = await db.get(leaseKey(String(leaseOwner)))
    if (lease !== undefined && Number(lease['until']) > now) continue
    const abandoned = { key: keyOf(String(pk)), tokenId: String(tokenId), count: Number(count) }
    await db.transact([takeReservation(abandoned), giveBack(abandoned.tokenId, abandoned.count)])
  }
}
