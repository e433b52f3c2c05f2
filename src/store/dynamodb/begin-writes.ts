import type { Lease, NewRegistration } from '../records.ts'
import { idempotencyKey, leaseKey, openAt, shardOf, toRegistrationItem } from './items.ts'
import { put, type Write } from './writes.ts'

/** Seconds after which a lease that nobody renewed goes by itself. */
const LEASE_TTL_S = 86_400

/** A lease, which whoever works under it renews. */
export function writeLease({ owner, until }: Lease): Write {
  return put({ ...leaseKey(owner), until, ttl: Math.ceil(until / 1_000) + LEASE_TTL_S }, 'any')
}

/** A registration, and the item by which the same request finds it: two that begin it at once meet there. */
export function beginWrites(one: NewRegistration, lease: Lease): Write[] {
  const { id, tokenId, createdAt, idempotency } = one
  const own = put(toRegistrationItem(one, lease.owner))
  if (idempotency === null) return [own]
  const pointer = { ...idempotencyKey(tokenId, idempotency.keyHash), registrationId: id }
  const remembered = { ...openAt(id, createdAt), work: `remembered#${shardOf(id)}` }
  return [put({ ...pointer, ...remembered }), own]
}
