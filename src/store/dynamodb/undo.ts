import { entryOf, SERVICE } from '../audit.ts'
import type { Store } from '../store.ts'
import type { DynamoDbAudit } from './audit.ts'
import { writeLease } from './begin-writes.ts'
import { heldBy, IS_ACTIVE, IS_PENDING, remembersAs } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { FORGOTTEN, idempotencyKey, keyOf, NOT_OPEN, openAt, type StoredRegistration } from './items.ts'
import { writeParts } from './parts.ts'
import { readAll, readOne } from './reads.ts'
import { giveBack } from './spend.ts'
import { type Condition, remove, update, type Write } from './writes.ts'

type Undoing = Pick<
  Store,
  'failRegistrations' | 'startUndoing' | 'withdrawAnswers' | 'sweepAgain' | 'finishSweeps'
>

const IS_FAILED: Condition = { when: '#status = :failed', values: { failed: 'failed' } }

/** The part of the store in which registrations come to nothing. */
export function dynamoDbUndoing(db: DynamoDbConnection, audit: DynamoDbAudit): Undoing {
  return {
    async failRegistrations(held, ending) {
      const failed = new Set<string>()
      let left = held
      // What changed between the look and the write is looked at once more.
      for (let round = 0; round < 3 && left.length > 0; round++) {
        const read = await readAll(
          db,
          left.map(({ id }) => id),
        )
        const parts = left.flatMap(({ id, owner }) => {
          const one = read.get(id)
          return one && mayFail(one, owner) ? [{ one, owner }] : []
        })
        const [rotations, own] = [parts.filter(isRotation), parts.filter((part) => !isRotation(part))]
        const { written, errors } = await writeParts(
          db,
          own,
          ({ one, owner }) => fail(audit, one, owner, ending),
          (portion) => giveUsesBack(portion.map(({ one }) => one)),
        )
        // One by one: the registration that each rotates is written too, and may be among the others.
        await db.each(rotations, async (part) => {
          const { one, owner } = part
          const root = await readOne(db, one.rotation?.of ?? '')
          const writes = [...fail(audit, one, owner, ending), ...releaseRoot(one, root)]
          if ((await db.transact(writes)).length === 0) written.push(part)
        })
        for (const { one } of written) failed.add(one.id)
        if (errors.length > 0 && failed.size === 0) throw errors[0]
        left = parts.filter(({ one }) => !failed.has(one.id)).map(({ one, owner }) => ({ id: one.id, owner }))
      }
      return failed
    },

    async startUndoing(held) {
      // Written before the first delete: a delete without an answer may take effect late, so from here on no retry and
      // no recovery may hand this key out.
      const mine = await db.each(held, ({ id, owner }) =>
        db.write(update(keyOf(id), { set: { undoing: true } }, IS_PENDING, heldBy(owner))),
      )
      return new Set(held.filter((_, i) => mine[i]).map(({ id }) => id))
    },

    async withdrawAnswers(ids, lease) {
      // Whoever wins of this and a rotation or revocation by the operator, the other finds another status.
      const isUntouched: Condition = {
        when: 'attribute_not_exists(#keyHash) AND attribute_not_exists(#currentId) AND attribute_not_exists(#endReason)',
      }
      await db.write(writeLease(lease))
      const withdrawn = await db.each(ids, (id) => {
        const set = { status: 'pending', undoing: true, answeredAt: undefined, leaseOwner: lease.owner }
        return db.write(update(keyOf(id), { set: { ...set, ...openAt(id, 0) } }, IS_ACTIVE, isUntouched))
      })
      return new Set(ids.filter((_, i) => withdrawn[i]))
    },

    async sweepAgain(ids, at) {
      await db.each(ids, (id) =>
        db.write(update(keyOf(id), { set: { sweepAt: at, ...openAt(id, at) } }, IS_FAILED)),
      )
    },
    async finishSweeps(ids, dueBy) {
      await db.each(ids, async (id) => {
        const done = { sweepAt: undefined, leaseOwner: undefined, ...NOT_OPEN }
        const isThatOne: Condition = { when: '#sweepAt <= :dueBy', values: { dueBy } }
        if (await db.write(update(keyOf(id), { set: done }, isThatOne))) return
        // A sweep that was asked for while this one ran looks for a key that came later: it stays due.
        await db.write(update(keyOf(id), { set: { leaseOwner: undefined } }, IS_FAILED))
      })
    },
  }
}

function mayFail({ status, answeredAt, leaseOwner }: StoredRegistration, owner: string): boolean {
  return (status === 'pending' || status === 'active') && answeredAt === null && leaseOwner === owner
}

/**
 * An answered registration never fails: a replay that marks it answered and an undoing of what nobody asked for race
 * here. Failing frees the idempotency key, so that the retry is a new attempt.
 */
function fail(
  audit: DynamoDbAudit,
  one: StoredRegistration,
  owner: string,
  { failure, sweepAt, now }: { failure: string; sweepAt: number | null; now: number },
): Write[] {
  const { id, tokenId, idempotency, status } = one
  const ended = {
    status: 'failed',
    failure,
    endedAt: now,
    sweepAt,
    leaseOwner: undefined,
    ends: undefined,
    ...FORGOTTEN,
    ...(sweepAt === null ? NOT_OPEN : openAt(id, sweepAt)),
  }
  const asSeen: Condition = {
    when: '#status = :seen AND attribute_not_exists(#answeredAt)',
    values: { seen: status },
  }
  const entry = entryOf(
    'registration.undone',
    { ...one, apiKeyId: null },
    { at: now, actor: SERVICE, detail: failure },
  )
  return [
    update(keyOf(id), { set: ended }, asSeen, remembersAs(one), heldBy(owner)),
    ...(idempotency === null ? [] : [remove(idempotencyKey(tokenId, idempotency.keyHash))]),
    audit.write(entry),
  ]
}

/** A registration whose rotation failed may be rotated again. */
function releaseRoot({ id }: StoredRegistration, root: StoredRegistration | undefined): Write[] {
  const name =
    root?.pendingRotation === id
      ? 'pendingRotation'
      : root?.unansweredRotation === id
        ? 'unansweredRotation'
        : undefined
  if (root === undefined || name === undefined) return []
  return [update(keyOf(root.id), { set: { [name]: undefined } }, { when: `#${name} = :id`, values: { id } })]
}

const isRotation = ({ one }: { one: StoredRegistration }): boolean => one.rotation !== null

/** One write for each token. */
function giveUsesBack(registrations: readonly StoredRegistration[]): Write[] {
  return [...Map.groupBy(registrations, ({ tokenId }) => tokenId)].map(([tokenId, own]) =>
    giveBack(tokenId, own.length),
  )
}
