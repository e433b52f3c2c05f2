import { type Actor, entryOf } from '../audit.ts'
import type { Answered, Completion, Store } from '../store.ts'
import type { DynamoDbAudit } from './audit.ts'
import { heldBy, IS_PENDING, REMEMBERS } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { keyOf, NOT_OPEN, type StoredRegistration } from './items.ts'
import { writeParts } from './parts.ts'
import { readAll, readOne } from './reads.ts'
import { answerRotation, completeRotation } from './rotations.ts'
import { type Condition, update, type Write } from './writes.ts'

type Finish = Pick<Store, 'completeRegistrations' | 'markAnswered'>

/** The part of the store in which registrations come to their key. */
export function dynamoDbFinish(db: DynamoDbConnection, audit: DynamoDbAudit): Finish {
  return {
    async completeRegistrations(completions, now) {
      const { own = [], rotations = [] } = Object.groupBy(completions, ({ registration }) =>
        registration.rotation === null ? 'own' : 'rotations',
      )
      const completed = new Map<string, Answered>()
      const { written, errors } = await writeParts(db, own, (completion) => complete(audit, completion, now))
      for (const { id } of written) completed.set(id, { replaced: null })
      if (errors.length > 0) {
        // Some answers were lost: what took effect all the same is completed.
        for (const id of await alreadyActive(db, own, completed)) completed.set(id, { replaced: null })
        if (completed.size === 0) throw errors[0]
      }
      for (const completion of rotations) {
        const answered = await completeRotation(db, audit, completion, now)
        if (answered !== undefined) completed.set(completion.id, answered)
      }
      return completed
    },

    async markAnswered(id, actor, now) {
      for (;;) {
        const one = await readOne(db, id)
        if (one === undefined || !mayBeAnswered(one, now)) return undefined
        if (one.rotation !== null && one.answeredAt === null) {
          const answered = await answerRotation(db, audit, one, actor, now)
          if (answered !== 'changed') return answered
        } else if (await answer(db, audit, one, actor, now)) {
          const replaced = one.replacedId === null ? undefined : await readOne(db, one.replacedId)
          return { replaced: replaced ?? null }
        }
      }
    },
  }
}

/**
 * Guarded by status and lease: of a completion and an undoing that race, and of a worker that slept through its lease and
 * the one that took over, exactly one wins. What somebody began to undo, since this one looked, is not handed out.
 */
function complete(
  audit: DynamoDbAudit,
  { id, owner, actor, registration, apiKeyId, answered }: Completion,
  now: number,
): Write[] {
  const answeredAt = answered() ? now : undefined
  const done = {
    status: 'active',
    apiKeyId,
    endedAt: now,
    answeredAt,
    leaseOwner: undefined,
    ...NOT_OPEN,
  }
  const isMine: Condition = {
    when: 'attribute_not_exists(#undoing) AND (attribute_not_exists(#endsAt) OR #endsAt > :now)',
    values: { now },
  }
  return [
    update(
      keyOf(id),
      { set: done },
      IS_PENDING,
      heldBy(owner),
      isMine,
      ...(answeredAt === undefined ? [REMEMBERS] : []),
    ),
    audit.write(entryOf('registration.created', { ...registration, apiKeyId }, { at: now, actor })),
  ]
}

/** Of what could not be written, or so it seemed: what is active with the key that was to be written. */
async function alreadyActive(
  db: DynamoDbConnection,
  completions: readonly Completion[],
  completed: ReadonlyMap<string, Answered>,
): Promise<string[]> {
  const open = completions.filter(({ id }) => !completed.has(id))
  const read = await readAll(
    db,
    open.map(({ id }) => id),
  )
  return open.flatMap(({ id, apiKeyId }) => {
    const one = read.get(id)
    return one?.status === 'active' && one.apiKeyId === apiKeyId ? id : []
  })
}

function mayBeAnswered(one: StoredRegistration, now: number): boolean {
  const { status, endReason, endsAt, answeredAt, idempotency } = one
  const isOver = endReason !== null || (endsAt !== null && endsAt <= now)
  return status === 'active' && !isOver && (answeredAt !== null || idempotency !== null)
}

/** What is on its way out is handed out no more. */
async function answer(
  db: DynamoDbConnection,
  audit: DynamoDbAudit,
  one: StoredRegistration,
  actor: Actor,
  now: number,
): Promise<boolean> {
  const mayBe: Condition = {
    when:
      '#status = :active AND attribute_not_exists(#endReason) AND ' +
      '(attribute_not_exists(#endsAt) OR #endsAt > :now) AND ' +
      '(attribute_exists(#answeredAt) OR attribute_exists(#keyHash))',
    values: { active: 'active', now },
  }
  const unmet = await db.transact([
    update(keyOf(one.id), { set: NOT_OPEN, setOnce: { answeredAt: now } }, mayBe),
    audit.write(entryOf('registration.replayed', one, { at: now, actor })),
  ])
  return unmet.length === 0
}
