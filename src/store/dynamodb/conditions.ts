import { LONGEST_AHEAD_MS } from '../../registration/lifecycle.ts'
import type { Registration } from '../records.ts'
import type { Condition } from './expressions.ts'

export const IS_PENDING: Condition = { when: '#status = :pending', values: { pending: 'pending' } }
export const IS_ACTIVE: Condition = { when: '#status = :active', values: { active: 'active' } }
export const IS_FAILED: Condition = { when: '#status = :failed', values: { failed: 'failed' } }
export const IS_ENDING: Condition = { when: '#status = :ending', values: { ending: 'ending' } }

/** The registration was answered, and its response is not recorded as delivered. */
export const IS_UNDELIVERED: Condition = { when: 'attribute_exists(#undelivered)' }

/** The key is not suspended. */
export const NOT_SUSPENDED: Condition = { when: 'attribute_not_exists(#suspendedAt)' }

/** The lease of the registration is held by this owner. */
export const heldBy = (owner: string): Condition => ({ when: '#leaseOwner = :owner', values: { owner } })

/** The registration has an idempotency key, so that a retry can find it. */
export const HAS_IDEMPOTENCY_KEY: Condition = { when: 'attribute_exists(#keyHash)' }

/** The registration has an idempotency key, or has none, as when it was read. */
export function sameIdempotency({ idempotency }: Registration): Condition {
  return idempotency === null ? { when: 'attribute_not_exists(#keyHash)' } : HAS_IDEMPOTENCY_KEY
}

/** `hasCome` of lifecycle.ts, for the time in an attribute. */
export const hasCome = (attribute: 'sweepAt' | 'until', now: number) => ({
  when: `#${attribute} <= :now OR #${attribute} > :tooFar`,
  values: { now, tooFar: now + LONGEST_AHEAD_MS },
})

/** There is no such lease, or it has expired. */
export function leaseIsOver(now: number) {
  const { when, values } = hasCome('until', now)
  return { when: `attribute_not_exists(#pk) OR ${when}`, values }
}

/** The registration has the status that it had when it was read. */
export const sameStatus = ({ status }: Registration): Condition => ({
  when: '#status = :seen',
  values: { seen: status },
})

/** A caller received the key, or none did, as when it was read. */
export const sameAnswered = ({ answeredAt }: Registration): Condition => ({
  when: `attribute_${answeredAt === null ? 'not_exists' : 'exists'}(#answeredAt)`,
})

/** The response is recorded as delivered, or is not, as when the record was read. */
export function sameDelivered({ answeredAt, deliveredAt }: Registration): Condition {
  if (answeredAt === null) return { when: 'attribute_not_exists(#answeredAt)' }
  return deliveredAt === null ? IS_UNDELIVERED : { when: 'attribute_not_exists(#undelivered)' }
}
