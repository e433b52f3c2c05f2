import type { Actor } from '../audit.ts'
import { entryOf } from '../audit.ts'
import type { Registration } from '../records.ts'
import type { Answered, Completion } from '../store.ts'
import type { DynamoDbAudit } from './audit.ts'
import { IS_ACTIVE, IS_PENDING, REMEMBERS, remembersAs } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import {
  endingAt,
  FORGOTTEN,
  idempotencyKey,
  keyOf,
  managerOf,
  NOT_OPEN,
  openAt,
  type StoredRegistration,
} from './items.ts'
import { type Pair, readOne, readPair } from './reads.ts'
import { type Condition, check, remove, update, type Write } from './writes.ts'

/** That nobody rotated it since it was read. */
/** That nobody rotated it, began to, or forgot a rotation of it, since it was read. */
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

export function sameCurrent({ currentId }: Registration): Condition {
  return currentId === null
    ? { when: 'attribute_not_exists(#currentId)' }
    : { when: '#currentId = :current', values: { current: currentId } }
}

/** The rotation of a registration that waits for its retry, if one does. */
export async function readUnanswered(
  db: DynamoDbConnection,
  { unansweredRotation }: StoredRegistration,
): Promise<StoredRegistration | undefined> {
  if (unansweredRotation === undefined) return undefined
  const one = await readOne(db, unansweredRotation)
  return one?.status === 'active' && one.answeredAt === null ? one : undefined
}

/** Nobody was given its key: forgotten, it is undone by recovery. A retry that comes first makes the condition fail. */
export function forgetUnanswered(one: StoredRegistration): Write[] {
  const { id, tokenId, createdAt, idempotency } = one
  const isUnanswered: Condition = {
    ...IS_ACTIVE,
    when: `${IS_ACTIVE.when} AND attribute_not_exists(#answeredAt)`,
  }
  const own = update(
    keyOf(id),
    { set: { ...FORGOTTEN, ...openAt(id, createdAt) } },
    isUnanswered,
    remembersAs(one),
  )
  return idempotency === null ? [own] : [own, remove(idempotencyKey(tokenId, idempotency.keyHash))]
}

/**
 * A rotation that is `pending` becomes `active`; answered, its key becomes the registration's in the same transaction.
 * `undefined`: it may not, see {@link Store.completeRegistrations}.
 */
export async function completeRotation(
  db: DynamoDbConnection,
  audit: DynamoDbAudit,
  { id, owner, actor, apiKeyId, answered }: Completion,
  now: number,
): Promise<Answered | undefined> {
  for (;;) {
    const rotation = await readOne(db, id)
    const pair = rotation?.rotation && (await readPair(db, rotation.rotation.of))
    if (!rotation || !pair || rotation.status !== 'pending' || rotation.leaseOwner !== owner) return undefined
    const { expiresAt, undoing } = rotation
    const isOver = expiresAt !== null && expiresAt <= now
    if (undoing || isOver || pair.current.status !== 'active') return undefined
    const isAnswered = answered()
    if (!isAnswered && rotation.idempotency === null) return undefined // Nobody could ask for it.
    const place = isAnswered ? await takePlace(db, rotation, pair, now) : waitForRetry(rotation, pair)
    const mayComplete: Condition = {
      when: '#status = :pending AND #leaseOwner = :owner AND attribute_not_exists(#undoing)',
      values: { pending: 'pending', owner },
    }
    const done = {
      status: 'active',
      apiKeyId,
      endedAt: now,
      leaseOwner: undefined,
      ...(isAnswered ? { answeredAt: now, replacedId: pair.current.id } : {}),
      ...NOT_OPEN,
    }
    const entry = entryOf('registration.rotated', { ...rotation, apiKeyId }, { at: now, actor })
    const waits = isAnswered ? [] : [REMEMBERS]
    const writes = [
      update(keyOf(id), { set: done }, mayComplete, ...waits),
      ...place.writes,
      audit.write(entry),
    ]
    if ((await db.transact(writes)).length === 0) return { replaced: place.replaced }
  }
}

/** As {@link Store.markAnswered}, for a rotation that was not answered before. */
export async function answerRotation(
  db: DynamoDbConnection,
  audit: DynamoDbAudit,
  rotation: StoredRegistration,
  actor: Actor,
  now: number,
): Promise<Answered | undefined | 'changed'> {
  const pair = rotation.rotation && (await readPair(db, rotation.rotation.of))
  if (pair?.current.status !== 'active') return undefined
  const { writes, replaced } = await takePlace(db, rotation, pair, now)
  const isUnanswered: Condition = {
    when: '#status = :active AND attribute_not_exists(#answeredAt) AND attribute_exists(#keyHash)',
    values: { active: 'active' },
  }
  const done = { answeredAt: now, replacedId: pair.current.id, ...NOT_OPEN }
  const unmet = await db.transact([
    update(keyOf(rotation.id), { set: done }, isUnanswered),
    ...writes,
    audit.write(entryOf('registration.replayed', rotation, { at: now, actor })),
  ])
  return unmet.length === 0 ? { replaced } : 'changed'
}

interface Place {
  readonly writes: readonly Write[]
  readonly replaced: Registration | null
}

/** Completed, but nobody was told: the registration keeps its key, and knows that this one waits. */
function waitForRetry({ id }: StoredRegistration, { root, current }: Pair): Place {
  const set = { pendingRotation: undefined, unansweredRotation: id }
  const own = update(keyOf(root.id), { set }, sameCurrent(root), ...(current === root ? [IS_ACTIVE] : []))
  return {
    writes: current === root ? [own] : [own, check(keyOf(current.id), IS_ACTIVE)],
    replaced: null,
  }
}

/**
 * The key of a rotation becomes the one of the registration: the key before the last goes at once, the last one when its
 * overlap is over. Every item is written only if nobody ended or rotated it since it was read: a revocation comes before
 * all of this or after.
 */
async function takePlace(
  db: DynamoDbConnection,
  { id, rotation, managementHash }: StoredRegistration,
  { root, current }: Pair,
  now: number,
): Promise<Place> {
  const { overlapMs = 0, renewsManagement = false } = rotation ?? {}
  const until = Math.min(current.endsAt ?? Number.POSITIVE_INFINITY, now + overlapMs)
  const overlap = { endReason: 'rotated' as const, ...endingAt(current.id, until) }
  const renewed = renewsManagement
    ? { managementHash, previousManagementHash: root.managementHash, manager: managerOf(managementHash) }
    : {}
  const taken = { currentId: id, pendingRotation: undefined, unansweredRotation: undefined, ...renewed }
  const oldest = current.replacedId === null ? undefined : await readOne(db, current.replacedId)
  const overlaps = oldest?.status === 'active' && oldest.endReason === 'rotated'
  const due = overlaps ? endingAt(oldest.id, Math.min(oldest.endsAt ?? now, now)) : {}
  const isOverlapping: Condition = {
    when: '#status = :active AND #endReason = :rotated',
    values: { active: 'active', rotated: 'rotated' },
  }
  // What overlaps may be the registration's own first key, and so may what is replaced: each item is written once.
  const writes = [
    update(
      keyOf(root.id),
      {
        set: {
          ...taken,
          ...(current === root ? overlap : {}),
          ...(oldest?.id === root.id ? due : {}),
        },
        setOnce: { answeredAt: now },
      },
      sameCurrent(root),
      ...(current === root ? [IS_ACTIVE] : []),
      ...(overlaps && oldest.id === root.id ? [isOverlapping] : []),
    ),
    ...(current === root ? [] : [update(keyOf(current.id), { set: overlap }, IS_ACTIVE)]),
    ...(overlaps && oldest.id !== root.id ? [update(keyOf(oldest.id), { set: due }, isOverlapping)] : []),
  ]
  return { writes, replaced: { ...current, endReason: 'rotated', endsAt: until } }
}

/**
 * What is under way to rotate a registration that has no key any more can only be undone, and what waits for its retry is
 * forgotten. Only tidies up: neither could be completed or answered any more.
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
