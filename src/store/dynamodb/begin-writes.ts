import type { Lease, NewRegistration } from '../records.ts'
import { put, type Write } from './expressions.ts'
import { idempotencyKey, leaseKey, openAt, shardOf, toRegistrationItem } from './item-codec.ts'

/** Seconds after which DynamoDB removes a lease that is not renewed. */
const LEASE_TTL_S = 86_400

/** Writes the item of a lease, which its holder renews. */
export function writeLease({ owner, until }: Lease): Write {
  return put({ ...leaseKey(owner), until, ttl: Math.ceil(until / 1_000) + LEASE_TTL_S }, 'any')
}

/**
 * The writes of a new registration: its item, and the item by which a retry finds it. Of two processes that begin the same
 * request at once, the second finds the latter.
 */
export function beginWrites(one: NewRegistration, lease: Lease): Write[] {
  const own = put(toRegistrationItem(one, lease.owner))
  return one.idempotency === null ? [own] : [put(pointerOf(one, one.idempotency.keyHash)), own]
}

/** The item by which a retry finds a registration. */
export function pointerOf({ id, tokenId, createdAt }: NewRegistration, keyHash: Uint8Array) {
  const remembered = { ...openAt(id, createdAt), work: `remembered#${shardOf(id)}` }
  return { ...idempotencyKey(tokenId, keyHash), registrationId: id, ...remembered }
}
