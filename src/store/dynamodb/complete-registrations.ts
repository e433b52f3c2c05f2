import { isReplayable } from '../../registration/lifecycle.ts'
import { type Actor, entryOf } from '../audit.ts'
import type { Completed, Completion, MintingStore } from '../minting.ts'
import type { DynamoDbAudit } from './audit.ts'
import { HAS_IDEMPOTENCY_KEY, heldBy, IS_PENDING, IS_UNDELIVERED, sameDelivered } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, update, type Write } from './expressions.ts'
import { keyOf, NOT_OPEN, type StoredRegistration, toRegistration, undeliveredSince } from './item-codec.ts'
import { readAll, readOne, readReferenced } from './reads.ts'
import { answerRotation, completeRotation } from './rotations.ts'
import { transactInChunks } from './transact-in-chunks.ts'

const WRITES_OF_A_COMPLETION = 2

type Completing = Pick<MintingStore, 'completeRegistrations' | 'markAnswered' | 'markDelivered'>

/** The methods of {@link MintingStore} by which a registration gets its key, and its caller an answer. */
export function dynamoDbCompleting(db: DynamoDbConnection, audit: DynamoDbAudit): Completing {
  return {
    async completeRegistrations(completions, now) {
      const { own = [], rotations = [] } = Object.groupBy(completions, ({ registration }) =>
        registration.rotation === null ? 'own' : 'rotations',
      )
      const completed = new Map<string, Completed>()
      /** As the latest attempt wrote it. */
      const answered = new Map<string, boolean>()
      const { written, unclear, errors } = await transactInChunks(
        db,
        own,
        (one) => {
          const isAnswered = one.isAwaited()
          answered.set(one.id, isAnswered)
          return complete(audit, one, isAnswered, now)
        },
        { sizeOf: () => WRITES_OF_A_COMPLETION },
      )
      for (const { id } of written) completed.set(id, { answered: answered.get(id) === true, replaced: null })
      for (const { id, answeredAt } of await alreadyActive(db, unclear))
        completed.set(id, { answered: answeredAt !== null, replaced: null })
      for (const completion of rotations) {
        try {
          const one = await completeRotation(db, audit, completion, now)
          if (one !== undefined) completed.set(completion.id, one)
        } catch (error) {
          errors.push(error)
        }
      }
      if (errors.length > 0 && completed.size === 0) throw errors[0]
      return completed
    },

    async markAnswered(id, actor, now) {
      for (;;) {
        const one = await readOne(db, id)
        if (one === undefined || !isReplayable(one, now)) return undefined
        if (one.rotation !== null && one.answeredAt === null) {
          const answered = await answerRotation(db, audit, one, actor, now)
          if (answered !== 'changed') return answered
        } else if (await answer(db, audit, one, actor, now)) {
          if (one.replacedId === null) return { replaced: null }
          return { replaced: toRegistration(await readReferenced(db, one.replacedId)) }
        }
      }
    },

    async markDelivered(ids, now) {
      const set = { deliveredAt: now, undelivered: undefined, ...NOT_OPEN }
      const writesOf = (id: string) => [update(keyOf(id), { set }, IS_UNDELIVERED)]
      const { errors } = await transactInChunks(db, ids, writesOf)
      if (errors.length > 0) throw errors[0]
    },
  }
}

/**
 * Guarded by status and lease: of a completion and an undoing that race, and of a worker whose lease expired and the one that
 * took over, exactly one wins. A registration that is being undone is refused, because its deletion may still take effect,
 * and so is one that no caller could ever receive.
 */
function complete(
  audit: DynamoDbAudit,
  { id, owner, actor, registration, apiKeyId }: Completion,
  answered: boolean,
  now: number,
): Write[] {
  const done = {
    status: 'active',
    apiKeyId,
    endedAt: now,
    leaseOwner: undefined,
    ...(answered ? { answeredAt: now, ...undeliveredSince(id, now) } : NOT_OPEN),
  }
  const mayComplete: Condition = {
    when: 'attribute_not_exists(#undoing) AND (attribute_not_exists(#endsAt) OR #endsAt > :now)',
    values: { now },
  }
  const conditions = [IS_PENDING, heldBy(owner), mayComplete, ...(answered ? [] : [HAS_IDEMPOTENCY_KEY])]
  return [
    update(keyOf(id), { set: done }, ...conditions),
    audit.write(entryOf('registration.created', { ...registration, apiKeyId }, { at: now, actor })),
  ]
}

/** The completions that took effect although their transaction failed: a response was lost. */
async function alreadyActive(
  db: DynamoDbConnection,
  completions: readonly Completion[],
): Promise<StoredRegistration[]> {
  if (completions.length === 0) return []
  const read = await readAll(
    db,
    completions.map(({ id }) => id),
  )
  return completions.flatMap(({ id, apiKeyId }) => {
    const one = read.get(id)
    return one?.status === 'active' && one.apiKeyId === apiKeyId ? one : []
  })
}

/** Records an answer, possibly once more. @returns `false`: the record changed since it was read */
async function answer(
  db: DynamoDbConnection,
  audit: DynamoDbAudit,
  one: StoredRegistration,
  actor: Actor,
  now: number,
): Promise<boolean> {
  // `isReplayable` of lifecycle.ts: a key that is about to be deleted is returned to no caller.
  const mayBe: Condition = {
    when:
      '#status = :active AND attribute_not_exists(#endReason) AND attribute_not_exists(#suspendedAt) AND ' +
      '(attribute_not_exists(#endsAt) OR #endsAt > :now) AND ' +
      '(attribute_exists(#answeredAt) OR attribute_exists(#keyHash))',
    values: { active: 'active', now },
  }
  const answeredAt = one.answeredAt === null ? now : Math.max(now, one.answeredAt + 1)
  const set = one.deliveredAt === null ? { answeredAt, ...undeliveredSince(one.id, answeredAt) } : NOT_OPEN
  const unmet = await db.transact([
    update(keyOf(one.id), { set }, mayBe, sameDelivered(one)),
    audit.write(entryOf('registration.replayed', one, { at: now, actor })),
  ])
  return unmet.length === 0
}
