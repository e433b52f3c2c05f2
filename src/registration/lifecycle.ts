import type { PublicStatus } from '../store/operators.ts'
import type { Registration } from '../store/records.ts'

/**
 * The life of a registration, in one place: its phases, the transitions between them, and the predicates that the service
 * derives from them. A rotation (`rot_…`) is a record of the same kind and has the same life; it spends no use.
 *
 * ```
 *  begin ──► minting ──────────► answered ── delivered ──► live ── rotated ──► overlapping
 *              │  │               ▲    │                    │                      │
 *              │  └─► unanswered ─┘    │ a day in doubt     │ revoked, expired     │ overlap over
 *              │          │ forgotten  │                    ▼                      │
 *       failed, revoked   ▼            │                 deleting ◄────────────────┘
 *              │      abandoned        │                    │
 *              ▼          │            │                    ▼
 *           undoing ◄─────┴────────────┘                  ended
 *              │
 *              └──► failed, late-key check due ──► failed
 * ```
 *
 * {@link transitions} has all of them; docs/architecture.md draws the diagram from there. The store keeps a phase as several
 * fields, see {@link phaseOf}. It imports this file and no other of `registration/`. SQL cannot call the predicates: the
 * contract suite (`test/store/lifecycle-contract.ts`) compares every store with them.
 */

/** The fields that decide about the phase of a record. */
export type PhaseFields = Pick<
  Registration,
  | 'status'
  | 'undoing'
  | 'answeredAt'
  | 'deliveredAt'
  | 'idempotency'
  | 'endReason'
  | 'sweepAt'
  | 'suspendedAt'
>

/** The phases of a record: the fields that make each of them, and its meaning. */
export const phases = {
  minting: {
    fields: '`pending`',
    meaning:
      'One use is spent. The holder of a lease mints the key; if the lease expires, recovery takes over.',
  },
  undoing: {
    fields: '`pending`, `undoing`',
    meaning: 'The key, if there is one, is being deleted. It is returned to no caller any more.',
  },
  unanswered: {
    fields: '`active`, no `answeredAt`, an idempotency key',
    meaning: 'The key works, but no caller received it. A retry receives it within a day.',
  },
  abandoned: {
    fields: '`active`, no `answeredAt`, no idempotency key',
    meaning: 'The key works, no caller received it, and no retry can ask for it. Recovery undoes it.',
  },
  answered: {
    fields: '`active`, `answeredAt`, no `deliveredAt`',
    meaning:
      'The response is being sent. If a minute later it is not recorded as delivered, it is in doubt whether a caller ' +
      'received the key. After a day without a management call or usage, recovery undoes it.',
  },
  live: {
    fields: '`active`, `deliveredAt`',
    meaning: 'A caller received the key. A retry with its idempotency key receives it again within a day.',
  },
  suspended: {
    fields: '`active`, `suspendedAt`',
    meaning:
      'An operator disabled the key. It is returned to no caller and not rotated, until it is resumed. Its expiry and its recovery go on.',
  },
  overlapping: {
    fields: '`active`, `endReason` is `rotated`',
    meaning:
      'A rotation replaced the key. It works until `endsAt`, unless it is suspended, and is returned to no caller any more.',
  },
  deleting: {
    fields: '`ending`',
    meaning: 'The key has expired, was replaced or was revoked (`endReason`). A job deletes it at `endsAt`.',
  },
  ended: { fields: '`ended`', meaning: 'The key is deleted.' },
  'failed, late-key check due': {
    fields: '`failed`, `sweepAt`',
    meaning:
      'Undone, and the use is refunded. At `sweepAt` a job looks once more for a key that was created late.',
  },
  failed: { fields: '`failed`, no `sweepAt`', meaning: 'Undone, and the use is refunded. There is no key.' },
} as const satisfies Record<string, { readonly fields: string; readonly meaning: string }>

export type Phase = keyof typeof phases

/** The phase of a record. Total: every combination of fields belongs to exactly one phase. */
export function phaseOf({
  status,
  undoing,
  answeredAt,
  deliveredAt,
  idempotency,
  endReason,
  sweepAt,
  suspendedAt,
}: PhaseFields): Phase {
  switch (status) {
    case 'pending':
      return undoing ? 'undoing' : 'minting'
    case 'active':
      if (endReason === 'rotated') return 'overlapping'
      if (suspendedAt !== null) return 'suspended'
      if (answeredAt !== null) return deliveredAt === null ? 'answered' : 'live'
      return idempotency === null ? 'abandoned' : 'unanswered'
    case 'ending':
      return 'deleting'
    case 'ended':
      return 'ended'
    case 'failed':
      return sweepAt === null ? 'failed' : 'failed, late-key check due'
  }
}

/**
 * The actors that move records from one phase to another: the worker that holds the record's lease; recovery, under a lease
 * of its own after that one has expired; a retry with the same idempotency key; the owner, or an operator; the jobs that act
 * by the clock.
 */
export type Mover = 'worker' | 'recovery' | 'retry' | 'owner' | 'clock'

export interface Transition {
  /** `null`: there is no record yet. */
  readonly from: Phase | null
  readonly to: Phase
  readonly by: Mover
  /** The event, as the diagram shows it. */
  readonly on: string
}

/** Every transition that a store makes, and no other. */
export const transitions: readonly Transition[] = [
  { from: null, to: 'minting', by: 'worker', on: 'begin, one use spent' },
  { from: null, to: 'answered', by: 'worker', on: 'pool key taken, one use spent' },
  { from: null, to: 'live', by: 'owner', on: 'adopted' },
  { from: 'minting', to: 'answered', by: 'worker', on: 'key attached, caller connected' },
  { from: 'minting', to: 'unanswered', by: 'worker', on: 'key attached, caller gone' },
  { from: 'minting', to: 'unanswered', by: 'recovery', on: 'key found' },
  { from: 'minting', to: 'undoing', by: 'worker', on: 'minting failed' },
  { from: 'minting', to: 'undoing', by: 'recovery', on: 'no retry possible, or no key found' },
  { from: 'minting', to: 'undoing', by: 'owner', on: 'revoked' },
  { from: 'minting', to: 'undoing', by: 'clock', on: 'rotation of an expired key' },
  { from: 'minting', to: 'failed', by: 'worker', on: 'refused before a key could exist' },
  { from: 'undoing', to: 'failed, late-key check due', by: 'worker', on: 'key deleted, use refunded' },
  { from: 'undoing', to: 'failed, late-key check due', by: 'recovery', on: 'key deleted, use refunded' },
  { from: 'unanswered', to: 'answered', by: 'retry', on: 'answered' },
  { from: 'unanswered', to: 'abandoned', by: 'clock', on: 'a day without a retry, or expired' },
  { from: 'unanswered', to: 'abandoned', by: 'owner', on: 'token revoked, or another rotation begun' },
  { from: 'unanswered', to: 'abandoned', by: 'worker', on: 'displaced by a new request' },
  { from: 'unanswered', to: 'overlapping', by: 'owner', on: 'rotated' },
  { from: 'unanswered', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'unanswered', to: 'deleting', by: 'clock', on: 'expired' },
  { from: 'abandoned', to: 'undoing', by: 'recovery', on: 'lease taken' },
  { from: 'abandoned', to: 'overlapping', by: 'owner', on: 'rotated' },
  { from: 'abandoned', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'abandoned', to: 'deleting', by: 'clock', on: 'expired' },
  { from: 'answered', to: 'live', by: 'worker', on: 'response sent' },
  { from: 'answered', to: 'live', by: 'owner', on: 'management call, or key used' },
  { from: 'answered', to: 'live', by: 'clock', on: 'a rotation, a day in doubt' },
  { from: 'answered', to: 'undoing', by: 'worker', on: 'caller hung up before the response' },
  { from: 'answered', to: 'unanswered', by: 'worker', on: 'caller hung up before the response' },
  { from: 'answered', to: 'undoing', by: 'recovery', on: 'a day in doubt' },
  { from: 'answered', to: 'overlapping', by: 'owner', on: 'rotated' },
  { from: 'answered', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'answered', to: 'deleting', by: 'clock', on: 'expired' },
  { from: 'live', to: 'overlapping', by: 'owner', on: 'rotated' },
  { from: 'live', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'live', to: 'deleting', by: 'clock', on: 'expired' },
  { from: 'unanswered', to: 'suspended', by: 'owner', on: 'suspended' },
  { from: 'abandoned', to: 'suspended', by: 'owner', on: 'suspended' },
  { from: 'answered', to: 'suspended', by: 'owner', on: 'suspended' },
  { from: 'live', to: 'suspended', by: 'owner', on: 'suspended' },
  { from: 'suspended', to: 'live', by: 'owner', on: 'resumed' },
  { from: 'suspended', to: 'answered', by: 'owner', on: 'resumed' },
  { from: 'suspended', to: 'unanswered', by: 'owner', on: 'resumed' },
  { from: 'suspended', to: 'abandoned', by: 'owner', on: 'resumed' },
  { from: 'suspended', to: 'undoing', by: 'recovery', on: 'no caller received it, or a day in doubt' },
  { from: 'suspended', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'suspended', to: 'deleting', by: 'clock', on: 'expired' },
  { from: 'overlapping', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'overlapping', to: 'deleting', by: 'clock', on: 'overlap over' },
  { from: 'deleting', to: 'ended', by: 'owner', on: 'key deleted' },
  { from: 'deleting', to: 'ended', by: 'clock', on: 'key deleted' },
  { from: 'failed, late-key check due', to: 'failed', by: 'clock', on: 'no late key, or deleted' },
  {
    from: 'failed',
    to: 'failed, late-key check due',
    by: 'worker',
    on: 'a call after the lease may have made a key',
  },
]

/** Only the fields that a predicate needs. */
type Fields<K extends keyof Registration> = Pick<Registration, K>

const isPast = (time: number | null, now: number): boolean => time !== null && time <= now

/**
 * No lease ends, and no attempt is planned, further ahead than this (ms). What lies further ahead was written while a clock
 * was wrong, and counts as past: otherwise work would stand still until that time comes.
 */
export const LONGEST_AHEAD_MS = 120_000

/** The end of a lease, or the time of a planned attempt, has come, or cannot be right. */
export function hasCome(time: number | null, now: number): boolean {
  return isPast(time, now) || (time !== null && time > now + LONGEST_AHEAD_MS)
}

/** The registration has a key that has not reached its end. */
export function hasLiveKey({ status, endsAt }: Fields<'status' | 'endsAt'>, now: number): boolean {
  return status === 'active' && !isPast(endsAt, now)
}

/** An operator suspended the key: it is disabled in API Gateway, or about to be. */
export function isSuspended({ status, suspendedAt }: Fields<'status' | 'suspendedAt'>): boolean {
  return status === 'active' && suspendedAt !== null
}

/** The key is to be switched off or on in API Gateway; if it is not active any more, there is nothing to switch. */
export function isSwitchDue({ switchAt }: Fields<'switchAt'>, now: number): boolean {
  return hasCome(switchAt, now)
}

/** `active`, but no response with the key was begun. */
export function isUnanswered({ status, answeredAt }: Fields<'status' | 'answeredAt'>): boolean {
  return status === 'active' && answeredAt === null
}

/** Unanswered, and no retry can ask for the key any more. */
export function isAbandoned(one: Fields<'status' | 'answeredAt' | 'idempotency'>): boolean {
  return isUnanswered(one) && one.idempotency === null
}

/** The response with the present key was begun, and is not recorded as delivered. */
export function isUndelivered({
  status,
  answeredAt,
  deliveredAt,
  endReason,
}: Fields<'status' | 'answeredAt' | 'deliveredAt' | 'endReason'>): boolean {
  return status === 'active' && endReason === null && answeredAt !== null && deliveredAt === null
}

/**
 * It is open whether a caller received the key: the response was begun at `answeredBy` or earlier, longer ago than a running
 * process needs to send it and to record that.
 */
export function isInDoubt(
  one: Fields<'status' | 'answeredAt' | 'deliveredAt' | 'endReason'>,
  answeredBy: number,
): boolean {
  return isUndelivered(one) && isPast(one.answeredAt, answeredBy)
}

/** The use that the registration spent is never refunded. */
export function isUseFinal(one: Fields<'status' | 'deliveredAt'>): boolean {
  return (
    one.status === 'ending' || one.status === 'ended' || (one.status === 'active' && one.deliveredAt !== null)
  )
}

/** The registration holds a use that may still be refunded. */
export function holdsUse(one: Fields<'status' | 'deliveredAt' | 'rotation'>): boolean {
  return one.rotation === null && one.status !== 'failed' && !isUseFinal(one)
}

/** Another request of the token may take its use: its key was minted, and no retry has received it. */
export function isDisplaceable(
  one: Fields<'status' | 'answeredAt' | 'idempotency' | 'endReason' | 'rotation'>,
): boolean {
  return one.rotation === null && isUnanswered(one) && one.idempotency !== null && one.endReason === null
}

/** A retry may receive the key. For an unanswered rotation, also its registration must have an active key. */
export function isReplayable(
  one: Fields<'status' | 'answeredAt' | 'idempotency' | 'endReason' | 'endsAt' | 'suspendedAt'>,
  now: number,
): boolean {
  return hasLiveKey(one, now) && one.endReason === null && !isSuspended(one) && !isAbandoned(one)
}

/** The record still has its idempotency key, and was not created before `since`: a retry finds it. */
export function isRemembered(
  { idempotency, createdAt }: Fields<'idempotency' | 'createdAt'>,
  since: number,
): boolean {
  return idempotency !== null && createdAt >= since
}

/** The key has reached its end: it is to be deleted, as soon as it is `ending`. */
export function isDue(
  { status, endsAt, endReason }: Fields<'status' | 'endsAt' | 'endReason'>,
  now: number,
): boolean {
  // An end by the clock may lie far ahead; that of a revocation is the time of the revocation, or of the next attempt.
  if (status === 'ending' && endReason === 'revoked') return hasCome(endsAt, now)
  return (status === 'active' || status === 'ending') && isPast(endsAt, now)
}

/**
 * The key is not the registration's present one, and is still to be deleted: it was replaced and its overlap is over, or no
 * caller can receive it any more. While there is such a key, its registration is not rotated, so that rotations cannot make
 * keys faster than the service deletes them.
 */
export function awaitsDeletion(
  one: Fields<'status' | 'undoing' | 'answeredAt' | 'idempotency' | 'endReason' | 'endsAt'>,
  now: number,
): boolean {
  if (one.status === 'pending') return one.undoing
  return one.status === 'ending' || isAbandoned(one) || (one.endReason === 'rotated' && isDue(one, now))
}

/** Recovery has to look at the record, unless a worker holds its lease. */
export function needsRecovery(
  one: Fields<'status' | 'answeredAt' | 'idempotency' | 'sweepAt'>,
  now: number,
): boolean {
  return one.status === 'pending' || isAbandoned(one) || hasCome(one.sweepAt, now)
}

/**
 * The time after which recovery undoes nothing that is still pending (ms). A running server ends it within minutes; what is
 * older may be that of an old copy of the store, and was answered by a server whose records are lost.
 */
export const UNATTENDED_AFTER_MS = 6 * 3_600_000

/**
 * Its key may have been delivered although the store does not say so: the store is a restored backup in which it was
 * unfinished, or it has been pending for long. Only an operator has it undone.
 * @param restoredAsOf the time of the backup; `null`: the store was not restored, or an operator has dealt with that
 */
export function waitsForOperator(
  one: Fields<
    | 'status'
    | 'undoing'
    | 'createdAt'
    | 'expiresAt'
    | 'answeredAt'
    | 'deliveredAt'
    | 'endReason'
    | 'idempotency'
  >,
  restoredAsOf: number | null,
  now: number,
): boolean {
  // No caller receives a key that is being undone, and an expired one is deleted anyway.
  const isMinting = one.status === 'pending' && !one.undoing && !isPast(one.expiresAt, now)
  if (isMinting && isPast(one.createdAt, now - UNATTENDED_AFTER_MS)) return true
  if (restoredAsOf === null || !isPast(one.createdAt, restoredAsOf)) return false
  return isMinting || isUndelivered(one) || (isUnanswered(one) && !isAbandoned(one))
}

/**
 * The task of recovery for a record that {@link needsRecovery}. `adopt`: attach its key if need be and keep it for the retry,
 * or undo it if there is no key. `undo`: delete its key and refund the use. `sweep`: delete a key that was created late.
 */
export type RecoveryAction = 'adopt' | 'undo' | 'sweep'

export function recoveryActionOf(
  { status, idempotency, undoing, expiresAt }: Fields<'status' | 'idempotency' | 'undoing' | 'expiresAt'>,
  now: number,
): RecoveryAction {
  if (status === 'failed') return 'sweep'
  const canBeRetried = status === 'pending' && idempotency !== null && !undoing && !isPast(expiresAt, now)
  return canBeRetried ? 'adopt' : 'undo'
}

/** API Gateway may hold a key for the record. */
export function mayHaveKey({ status }: Fields<'status'>): boolean {
  return status === 'pending' || status === 'active' || status === 'ending'
}

/** API Gateway must not hold a key for the record: one that is there is a stray key. */
export function mustNotHaveKey({ status, sweepAt }: Fields<'status' | 'sweepAt'>): boolean {
  return status === 'ended' || (status === 'failed' && sweepAt === null)
}

/** A revocation changes the record. */
export function isRevocable({
  status,
  endReason,
  undoing,
}: Fields<'status' | 'endReason' | 'undoing'>): boolean {
  if (status === 'ending') return endReason !== 'revoked'
  return status === 'active' || (status === 'pending' && !undoing)
}

/** Something is left to do: to mint or undo a key, to answer it, or to delete it. */
export function isUnfinished(one: Fields<'status' | 'answeredAt'>): boolean {
  return one.status === 'pending' || one.status === 'ending' || isUnanswered(one)
}

/** The status that owners and operators see, by the record of a registration's present key. */
export function publicStatusOf(
  one: Fields<'status' | 'endReason' | 'expiresAt' | 'suspendedAt'>,
  now: number,
): PublicStatus {
  const { status, endReason, expiresAt } = one
  if (status === 'ending' || status === 'ended') return endReason === 'revoked' ? 'revoked' : 'expired'
  if (status === 'active' && isPast(expiresAt, now)) return 'expired'
  return isSuspended(one) ? 'suspended' : status
}
