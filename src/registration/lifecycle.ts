import type { PublicStatus } from '../store/operators.ts'
import type { Registration } from '../store/records.ts'

/**
 * The life of a registration, in one place: its phases, the transitions between them, and the predicates that the service
 * derives from them. A rotation (`rot_…`) is a record of the same kind and has the same life.
 *
 * The store keeps a phase as several fields, see {@link phaseOf}. It imports this file and nothing else of `registration/`;
 * the contract suite holds every store against the predicates here.
 */

/** The fields that decide about the phase of a record. */
export type PhaseFields = Pick<
  Registration,
  'status' | 'undoing' | 'answeredAt' | 'idempotency' | 'endReason' | 'sweepAt'
>

/** The phases in which a record can be, and their meaning. */
export const phases = {
  minting: 'Recorded, one use spent; a lease holder makes the key, or died while doing so.',
  undoing: 'The key, if there is one, is being deleted. Nothing but `failed` can follow.',
  unanswered: 'The key works, but no caller received it. It waits for the retry with its idempotency key.',
  abandoned:
    'The key works, no caller received it, and its idempotency key is forgotten. Recovery undoes it.',
  live: 'A caller received the key, and it works.',
  overlapping: 'A rotation replaced the key. It works until its overlap is over.',
  deleting:
    'The key has expired, was replaced or was revoked. It is returned to no caller any more, and deleted.',
  ended: 'The key is deleted.',
  'failed, sweep due': 'Undone. One more look for a key that API Gateway may have created late.',
  failed: 'Undone. There is no key, and the use is refunded.',
} as const

export type Phase = keyof typeof phases

/** The phase of a record. Total: every combination of fields belongs to exactly one phase. */
export function phaseOf({
  status,
  undoing,
  answeredAt,
  idempotency,
  endReason,
  sweepAt,
}: PhaseFields): Phase {
  switch (status) {
    case 'pending':
      return undoing ? 'undoing' : 'minting'
    case 'active':
      if (endReason === 'rotated') return 'overlapping'
      if (answeredAt !== null) return 'live'
      return idempotency === null ? 'abandoned' : 'unanswered'
    case 'ending':
      return 'deleting'
    case 'ended':
      return 'ended'
    case 'failed':
      return sweepAt === null ? 'failed' : 'failed, sweep due'
  }
}

/** The roles that may move a record from one phase to another. */
export type Mover =
  /** The process that holds the record's lease. */
  | 'lease holder'
  /** The process that runs the upkeep jobs, or a retry: after the lease has expired, and under a lease of its own. */
  | 'recovery'
  /** A request with the same idempotency key. */
  | 'retry'
  /** The registration's owner, or an operator. */
  | 'owner'
  /** The upkeep jobs, by the clock. */
  | 'clock'

export interface Transition {
  /** `null`: there is no record yet. */
  readonly from: Phase | null
  readonly to: Phase
  readonly by: Mover
  /** The event, as the diagram shows it. */
  readonly on: string
}

/** Every transition that the store makes. What is not here does not happen. */
export const transitions: readonly Transition[] = [
  { from: null, to: 'minting', by: 'lease holder', on: 'begin: spend a use, record the intent' },
  { from: 'minting', to: 'live', by: 'lease holder', on: 'key attached, caller connected' },
  { from: 'minting', to: 'unanswered', by: 'lease holder', on: 'key attached, caller gone, retry possible' },
  { from: 'minting', to: 'unanswered', by: 'recovery', on: 'key found, retry possible' },
  { from: 'minting', to: 'undoing', by: 'lease holder', on: 'minting failed or nobody can receive the key' },
  { from: 'minting', to: 'undoing', by: 'recovery', on: 'no retry possible, or no key found' },
  { from: 'minting', to: 'undoing', by: 'owner', on: 'revoked' },
  { from: 'minting', to: 'undoing', by: 'clock', on: 'a rotation, and the key to replace has expired' },
  { from: 'minting', to: 'failed', by: 'lease holder', on: 'refused before any key could exist' },
  { from: 'undoing', to: 'failed, sweep due', by: 'lease holder', on: 'keys deleted, use refunded' },
  { from: 'undoing', to: 'failed, sweep due', by: 'recovery', on: 'keys deleted, use refunded' },
  { from: 'unanswered', to: 'live', by: 'retry', on: 'answered' },
  { from: 'unanswered', to: 'overlapping', by: 'owner', on: 'rotated: answered through the new key' },
  { from: 'unanswered', to: 'abandoned', by: 'clock', on: 'a day without a retry' },
  { from: 'unanswered', to: 'abandoned', by: 'owner', on: 'token revoked, or another rotation begun' },
  { from: 'unanswered', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'unanswered', to: 'deleting', by: 'clock', on: 'expired' },
  { from: 'abandoned', to: 'undoing', by: 'recovery', on: 'lease taken' },
  { from: 'abandoned', to: 'overlapping', by: 'owner', on: 'rotated by an operator' },
  { from: 'abandoned', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'abandoned', to: 'deleting', by: 'clock', on: 'expired' },
  { from: 'live', to: 'undoing', by: 'lease holder', on: 'answer withdrawn: the caller was gone after all' },
  { from: 'live', to: 'overlapping', by: 'owner', on: 'rotated' },
  { from: 'live', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'live', to: 'deleting', by: 'clock', on: 'expired' },
  { from: 'overlapping', to: 'deleting', by: 'owner', on: 'revoked' },
  { from: 'overlapping', to: 'deleting', by: 'clock', on: 'overlap over' },
  { from: 'deleting', to: 'ended', by: 'clock', on: 'key deleted' },
  { from: 'failed, sweep due', to: 'failed', by: 'clock', on: 'no late key, or deleted' },
  { from: 'failed', to: 'failed, sweep due', by: 'lease holder', on: 'a late call may have made a key' },
]

/** Only the fields that a predicate needs. */
type Fields<K extends keyof Registration> = Pick<Registration, K>

const isPast = (time: number | null, now: number): boolean => time !== null && time <= now

/** The key works, and is neither replaced nor due to end: it can be rotated. */
export function hasLiveKey({ status, endsAt }: Fields<'status' | 'endsAt'>, now: number): boolean {
  return status === 'active' && !isPast(endsAt, now)
}

/** `active`, but no caller received the key. */
export function isUnanswered({ status, answeredAt }: Fields<'status' | 'answeredAt'>): boolean {
  return status === 'active' && answeredAt === null
}

/** Unanswered, and no retry can ask for the key any more. */
export function isAbandoned(one: Fields<'status' | 'answeredAt' | 'idempotency'>): boolean {
  return isUnanswered(one) && one.idempotency === null
}

/** A retry may receive the key. For an unanswered rotation, also its registration must have an active key. */
export function isReplayable(
  one: Fields<'status' | 'answeredAt' | 'idempotency' | 'endReason' | 'endsAt'>,
  now: number,
): boolean {
  return hasLiveKey(one, now) && one.endReason === null && !isAbandoned(one)
}

/** The key has reached its end: it is to be deleted, as soon as it is `ending`. */
export function isDue({ status, endsAt }: Fields<'status' | 'endsAt'>, now: number): boolean {
  return (status === 'active' || status === 'ending') && isPast(endsAt, now)
}

/** Recovery has to look at the record, unless a worker holds its lease. */
export function needsRecovery(
  one: Fields<'status' | 'answeredAt' | 'idempotency' | 'sweepAt'>,
  now: number,
): boolean {
  return one.status === 'pending' || isAbandoned(one) || isPast(one.sweepAt, now)
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
  { status, endReason, expiresAt }: Fields<'status' | 'endReason' | 'expiresAt'>,
  now: number,
): PublicStatus {
  if (status === 'ending' || status === 'ended') return endReason === 'revoked' ? 'revoked' : 'expired'
  return status === 'active' && isPast(expiresAt, now) ? 'expired' : status
}
