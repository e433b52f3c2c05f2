import type { Lease, NewRegistration, Registration, Rotation } from '../records.ts'
import type { BeginOutcome } from '../store.ts'
import { beginWrites } from './begin-writes.ts'
import type { DynamoDbConnection } from './connection.ts'
import { idempotencyKey, keyOf, listedAt } from './items.ts'
import { readPair } from './reads.ts'
import { forgetUnanswered, readUnanswered, sameCurrent } from './rotations.ts'
import { type Condition, check, put, update } from './writes.ts'

/**
 * Begins a rotation. The item of the registration holds which one is pending, so that of two that race one begins; and
 * that its key is still there is checked in the same transaction, so that a revocation comes before it or finds it.
 */
export async function beginRotation(
  db: DynamoDbConnection,
  rotation: NewRegistration,
  { of }: Rotation,
  lease: Lease,
): Promise<BeginOutcome> {
  const { id, createdAt, tokenId, idempotency } = rotation
  for (;;) {
    if (idempotency !== null && (await db.get(idempotencyKey(tokenId, idempotency.keyHash))) !== undefined)
      return { outcome: 'duplicate' }
    const pair = await readPair(db, of)
    if (pair === undefined || !hasKey(pair.current, createdAt)) return { outcome: 'ended' }
    const { root, current } = pair
    if (root.pendingRotation !== undefined) return { outcome: 'busy' }
    const unanswered = await readUnanswered(db, root)
    const stillThere: Condition = {
      when: '#status = :active AND (attribute_not_exists(#endsAt) OR #endsAt > :now)',
      values: { active: 'active', now: createdAt },
    }
    const unmet = await db.transact([
      ...beginWrites(rotation, lease),
      put({ pk: of, sk: `rotation#${listedAt(id, createdAt)}`, rotationId: id }),
      update(
        keyOf(of),
        { set: { pendingRotation: id, unansweredRotation: undefined } },
        { when: 'attribute_not_exists(#pendingRotation)' },
        sameCurrent(root),
        ...(current === root ? [stillThere] : []),
      ),
      ...(current === root ? [] : [check(keyOf(current.id), stillThere)]),
      ...(unanswered === undefined ? [] : forgetUnanswered(unanswered)),
    ])
    if (unmet.length === 0) return { outcome: 'begun' }
  }
}

function hasKey({ status, endsAt }: Registration, now: number): boolean {
  return status === 'active' && (endsAt === null || endsAt > now)
}
