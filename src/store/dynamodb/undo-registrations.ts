import { entryOf, SERVICE } from '../audit.ts'
import type { MintingStore } from '../minting.ts'
import type { Failure } from '../records.ts'
import type { DynamoDbAudit } from './audit.ts'
import { writeLease } from './begin-writes.ts'
import { giveNameBack, giveProofBack, readProofs } from './claims.ts'
import {
  HAS_IDEMPOTENCY_KEY,
  heldBy,
  IS_ACTIVE,
  IS_FAILED,
  IS_PENDING,
  IS_UNDELIVERED,
  sameIdempotency,
  sameStatus,
} from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, remove, update, type Write } from './expressions.ts'
import { FORGOTTEN, idempotencyKey, keyOf, NOT_OPEN, openAt, type StoredRegistration } from './item-codec.ts'
import { NO_PLACE } from './places.ts'
import { readAll, readReferenced } from './reads.ts'
import { refund } from './token-uses.ts'
import { transactInChunks, writeEach } from './transact-in-chunks.ts'

type Undoing = Pick<
  MintingStore,
  'failRegistrations' | 'startUndoing' | 'withdrawAnswers' | 'retractAnswers' | 'sweepAgain'
>

/** Rounds in which registrations that changed between the read and the write are read again. */
const ROUNDS = 3

interface Part {
  readonly one: StoredRegistration
  readonly owner: string
}

/** The methods of {@link MintingStore} by which registrations are undone. */
export function dynamoDbUndoing(db: DynamoDbConnection, audit: DynamoDbAudit): Undoing {
  return {
    async failRegistrations(held, ending) {
      const failed = new Set<string>()
      let left = held
      for (let round = 0; round < ROUNDS && left.length > 0; round++) {
        const read = await readAll(
          db,
          left.map(({ id }) => id),
        )
        const parts = left.flatMap(({ id, owner }): Part[] => {
          const one = read.get(id)
          return one && mayFail(one, owner) ? [{ one, owner }] : []
        })
        const proofs = await readProofs(
          db,
          parts.map(({ one }) => one),
        )
        const [rotations, own] = [parts.filter(isRotation), parts.filter((part) => !isRotation(part))]
        const { written, errors } = await transactInChunks(
          db,
          own,
          ({ one, owner }) => fail(audit, one, owner, ending, proofs),
          { shared: (chunk) => refundUses(chunk.map(({ one }) => one)) },
        )
        for (const { one } of written) failed.add(one.id)
        // One by one: the registration that each rotates is written too, and may be among the others.
        await db.each(rotations, async ({ one, owner }) => {
          try {
            const writes = [...fail(audit, one, owner, ending, proofs), ...(await releaseRoot(db, one))]
            if ((await db.transact(writes)).length === 0) failed.add(one.id)
          } catch (error) {
            errors.push(error)
          }
        })
        if (errors.length > 0 && failed.size === 0) throw errors[0]
        left = parts.filter(({ one }) => !failed.has(one.id)).map(({ one, owner }) => ({ id: one.id, owner }))
      }
      return failed
    },

    async startUndoing(held) {
      const marked = await writeEach(db, held, ({ id, owner }) =>
        update(keyOf(id), { set: { undoing: true } }, IS_PENDING, heldBy(owner)),
      )
      return new Set(marked.map(({ id }) => id))
    },

    async withdrawAnswers(ids, answeredBy, lease) {
      // Of a withdrawal and a rotation or revocation by an operator, the second finds another status. Of a withdrawal and a
      // delivery, the first wins: a management call or a response that is recorded first keeps the key. A retry that is
      // being answered has moved `answeredAt`.
      const isOld: Condition = { when: '#answeredAt <= :answeredBy', values: { answeredBy } }
      const isUntouched: Condition = {
        when: ['keyHash', 'rotationOf', 'currentId', 'endReason']
          .map((name) => `attribute_not_exists(#${name})`)
          .join(' AND '),
      }
      await db.write(writeLease(lease))
      const set = {
        status: 'pending',
        undoing: true,
        answeredAt: undefined,
        undelivered: undefined,
        leaseOwner: lease.owner,
      }
      const withdrawn = await writeEach(db, ids, (id) =>
        update(
          keyOf(id),
          { set: { ...set, ...openAt(id, 0) } },
          IS_ACTIVE,
          IS_UNDELIVERED,
          isOld,
          isUntouched,
        ),
      )
      return new Set(withdrawn)
    },

    async retractAnswers(ids, answeredAt) {
      // A retry that is being answered, here or in another process, has moved `answeredAt`.
      const isOnly: Condition = { when: '#answeredAt = :answeredAt', values: { answeredAt } }
      const isUntouched: Condition = {
        when: ['rotationOf', 'currentId', 'endReason']
          .map((name) => `attribute_not_exists(#${name})`)
          .join(' AND '),
      }
      const set = { answeredAt: undefined, undelivered: undefined, ...NOT_OPEN }
      await writeEach(db, ids, (id) =>
        update(keyOf(id), { set }, IS_ACTIVE, IS_UNDELIVERED, HAS_IDEMPOTENCY_KEY, isOnly, isUntouched),
      )
    },

    async sweepAgain(ids, at) {
      await db.each(ids, (id) =>
        db.write(update(keyOf(id), { set: { sweepAt: at, ...openAt(id, at) } }, IS_FAILED)),
      )
    },
  }
}

function mayFail({ status, answeredAt, leaseOwner }: StoredRegistration, owner: string): boolean {
  return (status === 'pending' || status === 'active') && answeredAt === null && leaseOwner === owner
}

/**
 * An answered registration never fails: a replay that marks it answered races here with the undoing of an unanswered one.
 * Failing frees the idempotency key, the name and the proof, so that a retry begins anew.
 * @param proofs the ids of those that hold a proof still
 */
function fail(
  audit: DynamoDbAudit,
  one: StoredRegistration,
  owner: string,
  { failure, sweepAt, now }: { failure: Failure; sweepAt: number | null; now: number },
  proofs: ReadonlySet<string>,
): Write[] {
  const { id, tokenId, idempotency, holdsPlace } = one
  const ended = {
    status: 'failed',
    failure,
    endedAt: now,
    sweepAt,
    leaseOwner: undefined,
    ends: undefined,
    ...FORGOTTEN,
    ...(holdsPlace ? NO_PLACE : {}),
    ...(sweepAt === null ? NOT_OPEN : openAt(id, sweepAt)),
  }
  const isUnanswered: Condition = { when: 'attribute_not_exists(#answeredAt)' }
  const entry = entryOf(
    'registration.undone',
    { ...one, apiKeyId: null },
    { at: now, actor: SERVICE, detail: failure },
  )
  return [
    update(keyOf(id), { set: ended }, sameStatus(one), isUnanswered, sameIdempotency(one), heldBy(owner)),
    ...(idempotency === null ? [] : [remove(idempotencyKey(tokenId, idempotency.keyHash))]),
    ...giveNameBack(one),
    ...(proofs.has(id) ? giveProofBack(one) : []),
    audit.write(entry),
  ]
}

/** Lets the registration of a rotation that failed be rotated again. */
async function releaseRoot(db: DynamoDbConnection, { id, rotation }: StoredRegistration): Promise<Write[]> {
  if (rotation === null) return []
  const { id: rootId, pendingRotation, unansweredRotation } = await readReferenced(db, rotation.of)
  const name =
    pendingRotation === id ? 'pendingRotation' : unansweredRotation === id ? 'unansweredRotation' : undefined
  if (name === undefined) return []
  return [update(keyOf(rootId), { set: { [name]: undefined } }, { when: `#${name} = :id`, values: { id } })]
}

const isRotation = ({ one }: Part): boolean => one.rotation !== null

/** One write for each token. */
function refundUses(registrations: readonly StoredRegistration[]): Write[] {
  return [...Map.groupBy(registrations, ({ tokenId }) => tokenId)].map(([tokenId, own]) =>
    refund(tokenId, own.length),
  )
}
