import type { Lease, NewRegistration } from '../records.ts'
import { claimWrites } from './claims.ts'
import { put, type Write } from './expressions.ts'
import { idempotencyKey, leaseKey, openAt, shardOf, toRegistrationItem } from './item-codec.ts'

/** Seconds after which DynamoDB removes a lease that is not renewed. */
const LEASE_TTL_S = 86_400

/** Writes the item of a lease, which its holder renews. */
export function writeLease({ owner, until }: Lease): Write {
  return put({ ...leaseKey(owner), until, ttl: Math.ceil(until / 1_000) + LEASE_TTL_S }, 'any')
}

/** A write of a registration that begins. */
export interface BeginWrite {
  readonly one: NewRegistration
  readonly write: Write
  /** It claims a proof or a name, which another registration may hold. */
  readonly isClaim: boolean
}

/**
 * The writes of a new registration: its item, the item by which a retry finds it, and those of what it claims. Of two processes
 * that begin the same request at once, the second finds the second item.
 */
export function beginWrites(one: NewRegistration, lease: Lease): BeginWrite[] {
  const { idempotency } = one
  const own = [
    ...(idempotency === null ? [] : [put(pointerOf(one, idempotency.keyHash))]),
    put(toRegistrationItem(one, lease.owner)),
  ]
  return [
    ...own.map((write) => ({ one, write, isClaim: false })),
    ...claimWrites(one).map((write) => ({ one, write, isClaim: true })),
  ]
}

/** The number of writes of {@link beginWrites}. */
export function countBeginWrites({ idempotency, federated }: NewRegistration): number {
  return (
    1 +
    Number(idempotency !== null) +
    Number(federated?.proof ? 1 : 0) +
    Number(federated?.holdsName ?? false)
  )
}

/** The item by which a retry finds a registration. */
export function pointerOf({ id, tokenId, createdAt }: NewRegistration, keyHash: Uint8Array) {
  const remembered = { ...openAt(id, createdAt), work: `remembered#${shardOf(id)}` }
  return { ...idempotencyKey(tokenId, keyHash), registrationId: id, ...remembered }
}
