import { isSuspended, isUnanswered } from '../../registration/lifecycle.ts'
import { type Actor, entryOf } from '../audit.ts'
import type { Answered, Completed, Completion } from '../minting.ts'
import type { NewRegistration, Registration } from '../records.ts'
import type { DynamoDbAudit } from './audit.ts'
import {
  HAS_IDEMPOTENCY_KEY,
  heldBy,
  IS_ACTIVE,
  IS_PENDING,
  NOT_SUSPENDED,
  sameIdempotency,
} from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, check, type Item, remove, update, type Write } from './expressions.ts'
import {
  FORGOTTEN,
  idempotencyKey,
  keyOf,
  managerOf,
  NOT_OPEN,
  openAt,
  rotatedAt,
  type StoredRegistration,
  toRegistration,
  undeliveredSince,
} from './item-codec.ts'
import { type Pair, readOne, readPair, readReferenced } from './reads.ts'

/** The registration has the rotations that it had when it was read: none was answered, begun or forgotten since. */
export function sameRotations(root: StoredRegistration): [Condition, ...Condition[]] {
  return [
    sameCurrent(root),
    sameMark('pendingRotation', root.pendingRotation),
    sameMark('unansweredRotation', root.unansweredRotation),
  ]
}

function sameMark(name: string, value: string | undefined): Condition {
  return value === undefined
    ? { when: `attribute_not_exists(#${name})` }
    : { when: `#${name} = :${name}`, values: { [name]: value } }
}

/** The registration has the present key that it had when it was read. */
export function sameCurrent({ currentId }: Registration): Condition {
  return currentId === null
    ? { when: 'attribute_not_exists(#currentId)' }
    : { when: '#currentId = :current', values: { current: currentId } }
}

/** The rotation of a registration that no caller received yet. */
export async function readUnanswered(
  db: DynamoDbConnection,
  { unansweredRotation }: StoredRegistration,
): Promise<StoredRegistration | undefined> {
  if (unansweredRotation === undefined) return undefined
  const one = await readReferenced(db, unansweredRotation)
  return isUnanswered(one) ? one : undefined
}

/** A rotation can take the place of the key: it is active, and not suspended. */
const REPLACEABLE: [Condition, ...Condition[]] = [IS_ACTIVE, NOT_SUSPENDED]
const isReplaceable = (one: Registration): boolean => one.status === 'active' && !isSuspended(one)

/** Forgets a rotation that no caller received, for recovery to undo. A retry that is answered first fails the condition. */
export function forgetUnanswered(one: StoredRegistration): Write[] {
  const { id, tokenId, createdAt, idempotency } = one
  const own = update(
    keyOf(id),
    { set: { ...FORGOTTEN, ...openAt(id, createdAt) } },
    IS_ACTIVE,
    { when: 'attribute_not_exists(#answeredAt)' },
    sameIdempotency(one),
  )
  return idempotency === null ? [own] : [own, remove(idempotencyKey(tokenId, idempotency.keyHash))]
}

/**
 * Completes a rotation. If it is answered, its key becomes the registration's in the same transaction.
 * @returns `undefined`: it is refused, see {@link MintingStore.completeRegistrations}
 */
export async function completeRotation(
  db: DynamoDbConnection,
  audit: DynamoDbAudit,
  { id, owner, actor, apiKeyId, isAwaited }: Completion,
  now: number,
): Promise<Completed | undefined> {
  for (;;) {
    const rotation = await readOne(db, id)
    const pair = rotation?.rotation && (await readPair(db, rotation.rotation.of))
    if (!rotation || !pair || rotation.status !== 'pending' || rotation.leaseOwner !== owner) return undefined
    const { expiresAt, undoing } = rotation
    const isOver = expiresAt !== null && expiresAt <= now
    if (undoing || isOver || !isReplaceable(pair.current)) return undefined
    const answered = isAwaited()
    if (!answered && rotation.idempotency === null) return undefined // No caller could ever receive the key.
    const place = answered ? await takePlace(db, rotation, pair, now) : waitForRetry(rotation, pair)
    const notUndoing: Condition = { when: 'attribute_not_exists(#undoing)' }
    const done = {
      status: 'active',
      apiKeyId,
      endedAt: now,
      leaseOwner: undefined,
      ...(answered
        ? { answeredAt: now, replacedId: pair.current.id, ...undeliveredSince(id, now) }
        : NOT_OPEN),
    }
    const entry = entryOf('registration.rotated', { ...rotation, apiKeyId }, { at: now, actor })
    const canBeRetried = answered ? [] : [HAS_IDEMPOTENCY_KEY]
    const writes = [
      update(keyOf(id), { set: done }, IS_PENDING, heldBy(owner), notUndoing, ...canBeRetried),
      ...place.writes,
      audit.write(entry),
    ]
    if ((await db.transact(writes)).length === 0) return { answered, replaced: place.replaced }
  }
}

/** {@link MintingStore.markAnswered} for a rotation that was not answered before. `changed`: read it again. */
export async function answerRotation(
  db: DynamoDbConnection,
  audit: DynamoDbAudit,
  rotation: StoredRegistration,
  actor: Actor,
  now: number,
): Promise<Answered | undefined | 'changed'> {
  const pair = rotation.rotation && (await readPair(db, rotation.rotation.of))
  if (!pair || !isReplaceable(pair.current)) return undefined
  const { writes, replaced } = await takePlace(db, rotation, pair, now)
  const notAnswered: Condition = { when: 'attribute_not_exists(#answeredAt)' }
  const done = { answeredAt: now, replacedId: pair.current.id, ...undeliveredSince(rotation.id, now) }
  const unmet = await db.transact([
    update(keyOf(rotation.id), { set: done }, IS_ACTIVE, NOT_SUSPENDED, notAnswered, HAS_IDEMPOTENCY_KEY),
    ...writes,
    audit.write(entryOf('registration.replayed', rotation, { at: now, actor })),
  ])
  return unmet.length === 0 ? { replaced } : 'changed'
}

interface Place {
  readonly writes: readonly Write[]
  readonly replaced: Registration | null
}

/** The writes for a rotation that no caller received yet: the registration keeps its key, and names this rotation. */
function waitForRetry({ id }: StoredRegistration, { root, current }: Pair): Place {
  const set = { pendingRotation: undefined, unansweredRotation: id }
  const own = update(keyOf(root.id), { set }, sameCurrent(root), ...(current === root ? REPLACEABLE : []))
  return {
    writes: current === root ? [own] : [own, check(keyOf(current.id), ...REPLACEABLE)],
    replaced: null,
  }
}

/**
 * The writes that make the key of a rotation the present key of its registration. A key that overlaps already is due at
 * once; the replaced key ends after its overlap. Every item is written only if it was neither ended nor rotated since it was
 * read: a revocation is committed before all of this, or after.
 * @param more further changes of the registration's item, and their conditions
 */
export async function takePlace(
  db: DynamoDbConnection,
  { id, rotation, managementHash }: NewRegistration,
  { root, current }: Pair,
  now: number,
  more: { readonly set: Item; readonly conditions: readonly Condition[] } = { set: {}, conditions: [] },
): Promise<Place> {
  if (rotation === null) throw new Error(`${id} is no rotation`)
  const { overlapMs, renewsManagement } = rotation
  const until = Math.min(current.endsAt ?? Number.POSITIVE_INFINITY, now + overlapMs)
  const overlap = { endReason: 'rotated' as const, ...rotatedAt(current.id, until), ...NOT_OPEN }
  // Of the type that reading returns.
  const own = new Uint8Array(managementHash)
  const renewed = renewsManagement ? { managementHash: own, previousManagementHash: root.managementHash } : {}
  const present = { currentId: id, ...renewed }
  const taken = {
    ...present,
    ...(renewsManagement ? { manager: managerOf(managementHash) } : {}),
    pendingRotation: undefined,
    unansweredRotation: undefined,
    undelivered: undefined,
    ...NOT_OPEN,
  }
  const oldest = current.replacedId === null ? undefined : await readReferenced(db, current.replacedId)
  const overlaps = oldest?.status === 'active' && oldest.endReason === 'rotated'
  const due = overlaps ? rotatedAt(oldest.id, Math.min(oldest.endsAt ?? now, now)) : {}
  const isOverlapping: Condition = {
    when: '#status = :active AND #endReason = :rotated',
    values: { active: 'active', rotated: 'rotated' },
  }
  // The overlapping key may be the registration's own first key, and so may the replaced one: each item is written once.
  const writes = [
    update(
      keyOf(root.id),
      {
        set: {
          ...taken,
          ...more.set,
          ...(current === root ? overlap : {}),
          ...(oldest?.id === root.id ? due : {}),
        },
        // It counts as delivered: it must not be undone, and its use stays spent.
        setOnce: { answeredAt: now, ...(root.deliveredAt === null ? { deliveredAt: now } : {}) },
      },
      sameCurrent(root),
      ...more.conditions,
      ...(current === root ? REPLACEABLE : []),
      ...(overlaps && oldest.id === root.id ? [isOverlapping] : []),
    ),
    ...(current === root ? [] : [update(keyOf(current.id), { set: overlap }, ...REPLACEABLE)]),
    ...(overlaps && oldest.id !== root.id ? [update(keyOf(oldest.id), { set: due }, isOverlapping)] : []),
  ]
  const replaced = toRegistration(
    current === root
      ? { ...root, ...present, answeredAt: root.answeredAt ?? now, deliveredAt: root.deliveredAt ?? now }
      : current,
  )
  return { writes, replaced: { ...replaced, endReason: 'rotated', endsAt: until } }
}

/**
 * Marks the pending rotation of a registration without an active key as being undone, and forgets an unanswered one. Only
 * tidies up: neither can be completed or answered any more.
 */
export async function stopRotations(db: DynamoDbConnection, rootId: string): Promise<void> {
  const pair = await readPair(db, rootId)
  if (pair === undefined || pair.current.status === 'active') return
  const { pendingRotation } = pair.root
  if (pendingRotation !== undefined) {
    await db.write(update(keyOf(pendingRotation), { set: { undoing: true } }, IS_PENDING))
  }
  const unanswered = await readUnanswered(db, pair.root)
  if (unanswered !== undefined) await db.transact(forgetUnanswered(unanswered))
}
