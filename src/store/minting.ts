import type { Actor } from './audit.ts'
import type {
  BootstrapToken,
  Failure,
  Held,
  Lease,
  NewRegistration,
  Registration,
  RegistrationStatus,
} from './records.ts'

/** A registration or rotation whose key is minted and attached. */
export interface Completion extends Held {
  /** The record as it was begun. */
  readonly registration: NewRegistration
  readonly actor: Actor
  readonly apiKeyId: string
  /**
   * Reports whether a caller still waits for the key. Without side effects; the store calls it at the moment of writing,
   * after it waited for locks, so that a caller who hung up meanwhile does not count as answered.
   */
  readonly isAwaited: () => boolean
}

/** The effect of answering a registration or rotation. */
export interface Answered {
  /** A rotation: the record whose key it replaced, with its new end. `null`: it replaced none, or is not answered yet. */
  readonly replaced: Registration | null
}

/** The effect of completing a registration or rotation. */
export interface Completed extends Answered {
  /** It is recorded as answered: {@link Completion.isAwaited} held when it was written. */
  readonly answered: boolean
}

/**
 * The reason for which a registration cannot be rotated. `ended`: it has no active key. `suspended`: its key is suspended.
 * `busy`: another rotation of it is pending. `deleting`: an earlier key of it still has to be deleted, see `awaitsDeletion` in
 * lifecycle.ts.
 */
export type RotationRefusal = 'ended' | 'suspended' | 'busy' | 'deleting'

export type BeginOutcome =
  | { readonly outcome: 'begun' }
  /** The token already has a registration or rotation with this idempotency key. If it has none any more, begin again. */
  | { readonly outcome: 'duplicate' }
  /** The proof is claimed, by the registration or rotation `holder`, which has not failed; `null`: for an access token. */
  | { readonly outcome: 'replayed'; readonly holder: string | null }
  /** A registration of the token that holds its place has this name. If it holds it no more, begin again. */
  | { readonly outcome: 'name_taken'; readonly registrationId: string }
  /** The token cannot be used. `token` is its present record; `null`: it does not exist. */
  | { readonly outcome: 'refused'; readonly token: BootstrapToken | null }
  | { readonly outcome: RotationRefusal }

/** A spent use that can still be refunded, and what holds it. */
export interface HeldUse {
  /** `null`: the use is spent for a registration that is about to be recorded. */
  readonly registration: Registration | null
  /** The end of the lease under which it is worked on, which may be over; `null`: there is none. */
  readonly leaseUntil: number | null
}

/** The uses of a token that can still be refunded. */
export interface HeldUses {
  /** A use is left. */
  readonly isOneLeft: boolean
  /** Those of the earliest registrations. */
  readonly held: readonly HeldUse[]
  /** `false`: there may be more than `held` has. */
  readonly isComplete: boolean
}

/**
 * The part of the store that minting and recovery call: from the first record of a registration or rotation to its key, or
 * to its undoing.
 *
 * "Atomic per registration" means: each registration changes together with its token's uses, its audit entry and, for a
 * rotation, the registration that it rotates, or not at all. A crash, or an error, may leave some of the batch changed and
 * others not; a method that returns which registrations it changed throws only if none is known to be changed. Unless a
 * method says otherwise, repeating it is safe, and ids that are unknown or in another status are left alone.
 *
 * The ids of a call are distinct, limits are at least 1, and times are whole milliseconds. A worker holds a lease from the
 * moment it takes it until it gives it back or another owner takes it over, also after it has expired. The owner of a
 * {@link Lease} is new for each call that takes one.
 *
 * Errors of every method: see {@link Store}.
 */
export interface MintingStore {
  /**
   * Records registrations as `pending` under the lease, spends one use of its token for each, and claims its proof and its name,
   * see {@link Federated}. The outcomes are those of beginning one after the other, in this order; a refused one does not affect
   * the others. A rotation spends no use, and takes the idempotency key away from an unanswered rotation of the same
   * registration, which recovery then undoes. A rotation needs no usable token, but a key that has not expired; one that is being
   * undone counts as pending.
   *
   * `duplicate` is decided before all other outcomes, even for a used-up token; then `replayed`, then `name_taken`. Tokens and
   * keys are judged at `createdAt`; a proof is claimed until it is purged, also after it has expired.
   * A registration whose outcome is not `begun` writes nothing. Ids are new; beginning the same record again is an error.
   *
   * Atomic per registration. If it throws, or after a crash, some may be begun: undo them with {@link failRegistrations},
   * or leave them to recovery, which finds them when the lease expires. Uses may be spent for registrations that were never
   * recorded: {@link UpkeepStore.refundAbandonedUses} refunds them.
   * @returns the outcomes, in the order of `registrations`
   */
  beginRegistrations(registrations: readonly NewRegistration[], lease: Lease): Promise<BeginOutcome[]>

  /** Returns why a rotation of a registration that began at `now` would be refused; `undefined`: it would begin. Reads only. */
  whyNotRotatable(registrationId: string, now: number): Promise<RotationRefusal | undefined>

  /**
   * Moves `pending` to `active`, for lease holders only, and records those that are awaited as answered, not as delivered.
   * Refuses what is being undone, what has expired, what is neither awaited nor has an idempotency key (no caller could ever
   * receive it), and a rotation whose registration has no active key, or a suspended one. An answered rotation takes its place: its key becomes
   * the registration's, the replaced key ends after its overlap, and a key that overlapped already is due. A registration
   * that was rotated counts as delivered.
   *
   * Atomic per registration. Audit: `registration.created` or `registration.rotated`, also if it is not answered.
   * @returns the effects by id; a registration that is missing was refused or could not be written, and is unchanged
   */
  completeRegistrations(completions: readonly Completion[], now: number): Promise<Map<string, Completed>>

  /**
   * Moves `pending`, or `active` without an answer, to `failed` and refunds its use, for lease holders only. Forgets its
   * idempotency key, and gives its name and its proof back, so that a retry begins anew. An answered registration never fails.
   *
   * Atomic per registration. Audit: `registration.undone` with the failure, without a key id.
   * @param ending.sweepAt the time of the sweep for a key that is created late; `null`: no key can be
   * @returns the ids of those that failed
   */
  failRegistrations(
    held: readonly Held[],
    ending: { failure: Failure; sweepAt: number | null; now: number },
  ): Promise<Set<string>>

  /**
   * Marks `pending` registrations as being undone, for lease holders only. Call it before the first deletion: a deletion
   * whose response is lost may take effect later, so from here on the key is returned to no caller.
   *
   * Atomic per registration.
   * @returns the ids of those that are marked
   */
  startUndoing(held: readonly Held[]): Promise<Set<string>>

  /**
   * Records that the response with the key of an `active` registration or rotation is begun, possibly once more. The first
   * answer of a rotation makes it take its place, as in {@link completeRegistrations}. `answeredAt` becomes `now`, so that the
   * answer is not withdrawn meanwhile, and at least a millisecond later than before; once it is delivered, it stays.
   *
   * Atomic as a whole. Audit: `registration.replayed`.
   * @returns `undefined`, and nothing is written, if the key must not be returned: it has expired, is ending, was replaced,
   *   its idempotency key was forgotten before any answer, it is suspended, or the registration to rotate has no active key or a
   *   suspended one
   */
  markAnswered(id: string, actor: Actor, now: number): Promise<Answered | undefined>

  /**
   * Records that callers received their responses. The first time stays. Applies to registrations and rotations that are
   * answered, also if their keys have ended since.
   *
   * Atomic per registration.
   */
  markDelivered(ids: readonly string[], now: number): Promise<void>

  /**
   * Takes an answer back that reached no caller: `active` becomes `pending` under this lease, and can only be undone. Applies
   * to registrations without an idempotency key whose latest answer was begun at `answeredBy` or earlier, and that were neither
   * delivered, rotated nor revoked since; never to rotations. The record keeps `apiKeyId` and `endsAt`, so that its key can be
   * found.
   *
   * Atomic per registration: of a withdrawal and a delivery, the first wins.
   * @returns the ids of those that are `pending` again
   */
  withdrawAnswers(ids: readonly string[], answeredBy: number, lease: Lease): Promise<Set<string>>

  /**
   * Makes registrations with an idempotency key unanswered again whose only answer, begun at `answeredAt`, reached no caller.
   * Leaves alone what was delivered, rotated or revoked, and rotations.
   *
   * Atomic per registration: of this and a retry that is answered, the retry wins.
   */
  retractAnswers(ids: readonly string[], answeredAt: number): Promise<void>

  /** The registration or rotation of a token with this idempotency key, unless it failed or was forgotten. Reads only. */
  findByIdempotencyKey(tokenId: string, keyHash: Uint8Array): Promise<Registration | undefined>

  /** The registration of a token that holds this name, see {@link Registration.holdsPlace}. Reads only. */
  findLiveByName(tokenId: string, name: string): Promise<Registration | undefined>

  /**
   * Reads what holds the uses of a token that can still be refunded, see `holdsUse` of lifecycle.ts. If no use is left,
   * `held` is empty and complete, then none comes back: no use that is spent or refunded meanwhile escapes the reading.
   * Changes no record.
   * @param limit the maximum length of `held`
   */
  findHeldUses(tokenId: string, limit: number): Promise<HeldUses>

  /**
   * Forgets the idempotency key and the sealed secrets of an unanswered registration, so that recovery undoes it and refunds
   * its use.
   *
   * Atomic as a whole: of this and a retry that is answered, one wins.
   * @returns `false`, and nothing is written: it was answered, forgotten, revoked or rotated, or it is a rotation
   */
  displaceUnanswered(id: string): Promise<boolean>

  /**
   * Takes the leases of registrations of this status that need recovery and whose lease, if any, has expired. An `active` one
   * becomes `pending` and can only be undone: no retry may receive a key that is about to be deleted. It keeps `apiKeyId` and
   * `endsAt`. A rotation then counts as pending for {@link beginRegistrations}.
   *
   * Atomic per registration: of two processes that take the same one, one gets it.
   * @returns the ids of those taken; the others are unchanged: they are held, changed their status, were answered, or need
   *   no recovery any more
   */
  takeLeases(
    ids: readonly string[],
    status: RegistrationStatus,
    lease: Lease,
    now: number,
  ): Promise<Set<string>>

  /**
   * Extends the leases of these owners to `until`, whatever they hold; shortens one only if it ends too far ahead. Has no
   * effect on a registration that another owner took over.
   *
   * Atomic per owner.
   */
  renewLeases(owners: readonly string[], until: number): Promise<void>

  /** Gives leases back early, where they are still held by these owners. Atomic per registration. */
  releaseLeases(held: readonly Held[]): Promise<void>

  /** Schedules a sweep at `at` for those that are `failed`, in place of an earlier one. Atomic per registration. */
  sweepAgain(ids: readonly string[], at: number): Promise<void>

  /**
   * Forgets the idempotency keys and sealed secrets of registrations and rotations that were created before this time. An
   * unanswered `active` one then needs recovery.
   *
   * Atomic per registration.
   */
  forgetIdempotency(createdBefore: number): Promise<void>
}
