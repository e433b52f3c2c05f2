import { awaitsDeletion, hasLiveKey, isSuspended } from '../../registration/lifecycle.ts'
import type { BeginOutcome, RotationRefusal } from '../minting.ts'
import type { Lease, NewRegistration, Rotation } from '../records.ts'
import { beginWrites } from './begin-writes.ts'
import { findHolder } from './claims.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, check, put, update } from './expressions.ts'
import { keyOf, listedAt, type StoredRegistration } from './item-codec.ts'
import { type Pair, readAll, readPair } from './reads.ts'
import { forgetUnanswered, readUnanswered, sameCurrent } from './rotations.ts'

/**
 * Begins a rotation. The item of the registration names its pending rotation, so that of two that race one begins. The same
 * transaction checks that its key is still there: a revocation is committed before it, or finds the rotation.
 */
export async function beginRotation(
  db: DynamoDbConnection,
  rotation: NewRegistration,
  { of }: Rotation,
  lease: Lease,
): Promise<BeginOutcome> {
  const { id, createdAt } = rotation
  for (;;) {
    const held = await findHolder(db, rotation)
    if (held !== undefined) return held
    const found = await readRotatable(db, of, createdAt)
    if (typeof found === 'string') return { outcome: found }
    const { root, current } = found
    const unanswered = await readUnanswered(db, root)
    const forgotten = unanswered === undefined ? {} : { forgottenRotation: unanswered.id }
    const hasKey: Condition = {
      when: '#status = :active AND attribute_not_exists(#suspendedAt) AND (attribute_not_exists(#endsAt) OR #endsAt > :now)',
      values: { active: 'active', now: createdAt },
    }
    const unmet = await db.transact([
      ...beginWrites(rotation, lease).map(({ write }) => write),
      put(linkOf(rotation, of)),
      update(
        keyOf(of),
        { set: { pendingRotation: id, unansweredRotation: undefined, ...forgotten } },
        { when: 'attribute_not_exists(#pendingRotation)' },
        sameCurrent(root),
        ...(current === root ? [hasKey] : []),
      ),
      ...(current === root ? [] : [check(keyOf(current.id), hasKey)]),
      ...(unanswered === undefined ? [] : forgetUnanswered(unanswered)),
    ])
    if (unmet.length === 0) return { outcome: 'begun' }
  }
}

/** The item by which a rotation is found from its registration. */
export function linkOf({ id, createdAt }: Pick<NewRegistration, 'id' | 'createdAt'>, of: string) {
  return { pk: of, sk: `rotation#${listedAt(id, createdAt)}`, rotationId: id }
}

/** Reads a registration that can be rotated, with the record of its present key; otherwise returns why it cannot. */
export async function readRotatable(
  db: DynamoDbConnection,
  registrationId: string,
  now: number,
): Promise<Pair | RotationRefusal> {
  const pair = await readPair(db, registrationId)
  if (pair === undefined || !hasLiveKey(pair.current, now)) return 'ended'
  if (isSuspended(pair.current)) return 'suspended'
  const earlier = await readEarlier(db, pair)
  if (earlier.some((one) => awaitsDeletion(one, now))) return 'deleting'
  return pair.root.pendingRotation === undefined ? pair : 'busy'
}

/**
 * The records of a registration whose keys may still have to be deleted: those of its rotations that no caller received, and
 * the two keys before the present one. All earlier ones are deleted: otherwise the rotation after them had not begun.
 */
async function readEarlier(db: DynamoDbConnection, { root, current }: Pair): Promise<StoredRegistration[]> {
  const { pendingRotation, unansweredRotation, forgottenRotation } = root
  const ids = [pendingRotation, unansweredRotation, forgottenRotation, current.replacedId]
  const earlier = await readAll(db, [...new Set(ids.flatMap((id) => id ?? []))])
  const before = earlier.get(current.replacedId ?? '')?.replacedId ?? null
  if (before !== null) for (const [id, one] of await readAll(db, [before])) earlier.set(id, one)
  return [...earlier.values()]
}
