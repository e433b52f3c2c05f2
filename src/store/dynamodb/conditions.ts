import type { Registration } from '../records.ts'
import type { Condition } from './writes.ts'

export const IS_PENDING: Condition = { when: '#status = :pending', values: { pending: 'pending' } }
export const IS_ACTIVE: Condition = { when: '#status = :active', values: { active: 'active' } }

/** That its lease is this owner's. */
export const heldBy = (owner: string): Condition => ({ when: '#leaseOwner = :owner', values: { owner } })

/** That its request is remembered, so that a retry can find it. */
export const REMEMBERS: Condition = { when: 'attribute_exists(#keyHash)' }

/** That it remembers its request, or does not, as when it was looked at. */
export function remembersAs({ idempotency }: Registration): Condition {
  return idempotency === null ? { when: 'attribute_not_exists(#keyHash)' } : REMEMBERS
}
