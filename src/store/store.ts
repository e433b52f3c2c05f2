import type { Actor, AuditTrail } from './audit.ts'
import type { Listing } from './listing.ts'
import type {
  BootstrapToken,
  Held,
  Lease,
  NewRegistration,
  Registration,
  RegistrationStatus,
} from './records.ts'

/** The good end of a registration. */
export interface Completion extends Held {
  /** As it was begun. */
  readonly registration: NewRegistration
  readonly actor: Actor
  readonly apiKeyId: string
  /** Asked at the moment of writing: whether a caller still waits for the key. */
  readonly answered: () => boolean
}

/** What a registration or rotation changed when it was answered. */
export interface Answered {
  /** Of a rotation: whose key it replaced, with its new end. `null`: nothing's, or not answered yet. */
  readonly replaced: Registration | null
}

export type BeginOutcome =
  | { readonly outcome: 'begun' }
  /** The token has a registration with this idempotency key already. Nothing was written. */
  | { readonly outcome: 'duplicate' }
  /** The token may not be used: it is as returned here, or gone (`null`). Nothing was written. */
  | { readonly outcome: 'refused'; readonly token: BootstrapToken | null }
  /** The registration to rotate has no key any more, or is being rotated. Nothing was written. */
  | { readonly outcome: 'ended' | 'busy' }

/**
 * Everything the service remembers. Each method is atomic and durable when its promise resolves, whatever
 * other processes do on the same store at the same time. What changes a token or a registration is in the audit trail
 * with it, as done by the `actor`, or by the service itself where a method takes none.
 *
 * Every method throws ServiceError `store_unavailable` if the store cannot be read or written now.
 */
export interface Store extends Listing, AuditTrail {
  createToken(token: BootstrapToken, actor: Actor): Promise<void>
  findTokenByHash(secretHash: Uint8Array): Promise<BootstrapToken | undefined>
  getToken(id: string): Promise<BootstrapToken | undefined>
  /** All tokens, newest first. */
  listTokens(): Promise<BootstrapToken[]>
  /**
   * Marks the token revoked, forgets the idempotency keys and sealed answers of its registrations, and returns it; a
   * token that is revoked already keeps its first date.
   */
  revokeToken(id: string, actor: Actor, now: number): Promise<BootstrapToken | undefined>

  /**
   * Each of them, in this order, in one transaction: spends one use of its token and records it as `pending` under
   * the lease, both or neither. One that is refused does not disturb the others. A rotation spends no use; one that
   * waited for its retry gives way to it.
   * @returns the outcomes, in the same order
   */
  beginRegistrations(registrations: readonly NewRegistration[], lease: Lease): Promise<BeginOutcome[]>
  /**
   * `pending` becomes `active`, for the holders of the leases only, and unless it is being undone or has expired, in one
   * transaction. A rotation does as long as the registration has a key; when it is answered its key becomes the
   * registration's, the one before is left its overlap, and one that overlapped already is due.
   * @returns by their ids those that did; nothing of the others is changed
   */
  completeRegistrations(completions: readonly Completion[], now: number): Promise<Map<string, Answered>>
  /**
   * Become `failed` and give their uses back, both or neither, for the holders of the leases only. What was answered
   * never fails.
   * @param ending.sweepAt when to look for a late key once more; `null`: there can be none
   * @returns the ids of those that did
   */
  failRegistrations(
    held: readonly Held[],
    ending: { failure: string; sweepAt: number | null; now: number },
  ): Promise<Set<string>>
  /** Records that the keys are about to be deleted, for the holders of the leases only; answers whose. */
  startUndoing(held: readonly Held[]): Promise<Set<string>>
  /**
   * Records that a caller was given the key, once more perhaps. `undefined` if that must not be: its time is over, it was
   * replaced or forgotten, or what it rotates has no key any more.
   */
  markAnswered(id: string, actor: Actor, now: number): Promise<Answered | undefined>
  /**
   * What was just completed as answered, without an idempotency key, and reached nobody after all: `active` becomes
   * `pending` again, to be undone under this lease. Not what was rotated or revoked since.
   * @returns the ids of those that did
   */
  withdrawAnswers(ids: readonly string[], lease: Lease): Promise<Set<string>>
  /** The registration of a token with this idempotency key, unless it failed or was forgotten. */
  findByIdempotencyKey(tokenId: string, keyHash: Uint8Array): Promise<Registration | undefined>

  /**
   * Takes the leases of registrations of this status that {@link listRecoverable} found, where nobody holds one now.
   * What is `active` becomes `pending` again, to be undone.
   * @returns the ids of those taken; nothing of the others is changed: they are held, have another status by now, or
   *   need no recovery any more
   */
  takeLeases(
    ids: readonly string[],
    status: RegistrationStatus,
    lease: Lease,
    now: number,
  ): Promise<Set<string>>
  /** Extends the leases of these owners on what is `pending`. */
  renewLeases(owners: readonly string[], until: number): Promise<void>
  /** Gives leases back early. */
  releaseLeases(held: readonly Held[]): Promise<void>
  /**
   * What recovery has to look at: `pending` without a lease, `active` that was never answered and can be asked for no
   * more, `failed` whose sweep is due. Oldest first.
   */
  listRecoverable(now: number, limit: number): Promise<Registration[]>
  /** The sweeps of failed registrations that were due by then are done; what was asked for later stays. */
  finishSweeps(ids: readonly string[], dueBy: number): Promise<void>
  /** Has those of them that failed looked up in API Gateway once more, at `at`. */
  sweepAgain(ids: readonly string[], at: number): Promise<void>
  /** Forgets the idempotency keys and sealed answers of registrations begun before this time. */
  forgetIdempotency(createdBefore: number): Promise<void>
  getRegistration(id: string): Promise<Registration | undefined>
  /** The registration with this management token. May not know yet of a token that was issued a moment ago. */
  findByManagementHash(managementHash: Uint8Array): Promise<Registration | undefined>
  /** What was begun to rotate a registration, oldest first. */
  listRotations(registrationId: string): Promise<Registration[]>

  /**
   * Takes a registration's keys back: what is `active` of it becomes `ending`, and what is `pending`, of it or of its
   * rotations, can only be undone.
   * @returns it and its rotations, as far as they are `ending`
   */
  revokeRegistration(id: string, actor: Actor, now: number): Promise<Registration[]>
  /**
   * What is `active` of these becomes `ending`, as revoked: their keys alone, not what they belong to. A rotation that
   * is under way to replace one of them can only be undone.
   */
  endKeys(ids: readonly string[], actor: Actor, now: number): Promise<Registration[]>
  /**
   * What is `active` becomes `ending` when its time is over; a rotation of it that nobody was answered can only be undone.
   * @returns what is `ending` and due, longest due first, what was revoked last
   */
  listDue(now: number, limit: number): Promise<Registration[]>
  /** `ending` becomes `ended`: the keys are gone. */
  finishEndings(ids: readonly string[], now: number): Promise<void>
  /** A key could not be deleted, for this reason: it is due again at `until`. */
  postponeEnding(id: string, failure: string, until: number): Promise<void>
  /**
   * Takes, or renews, the lease on work that one process does for all. `false`: another process holds it. One that
   * lasts much longer than leases do was taken while a clock was wrong, and counts as lapsed.
   */
  takeDuty(name: string, lease: Lease, now: number): Promise<boolean>
  /** Gives it back early. */
  releaseDuty(name: string, owner: string): Promise<void>

  /**
   * Counts a request with a bootstrap token, whichever process got it.
   * @param window any number that is the same for all requests that are counted together, and grows with time
   * @returns how many there were in this window, with this one
   */
  countRequest(tokenId: string, window: number): Promise<number>

  /** Resolves if the store answers and can be written to. */
  ping(): Promise<void>
  close(): Promise<void>
}
