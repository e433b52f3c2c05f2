import type { DailyUsage, Failure, Lease, Registration } from './records.ts'

/** The name of the leader lease under which one process runs the upkeep jobs for all. */
export const JOBS_LEASE = 'background'

/** Uses that were spent for registrations which were never recorded, because the process that spent them died. */
export interface AbandonedUses {
  readonly tokenId: string
  readonly count: number
}

/** The times by which {@link UpkeepQueries.countWork} counts, in milliseconds since the epoch. */
export interface CountedTimes {
  readonly now: number
  /** As for {@link UpkeepQueries.listInDoubt}. */
  readonly answeredBy: number
  readonly expiringBy: readonly number[]
}

/** Numbers of registrations and rotations. */
export interface WorkCounts {
  readonly pending: number
  readonly inDoubt: number
  /** Their keys have come to their end and are not deleted: {@link UpkeepQueries.listDue}, and those whose next attempt is later. */
  readonly ending: number
  /** Those of them whose latest attempt failed. */
  readonly failing: number
  /** Their keys are not replaced or revoked, and expire by each of `expiringBy`. Those that are still to be deleted count, too. */
  readonly expiring: readonly number[]
}

/**
 * The work of the upkeep jobs. Reads only: a dry run needs no more than this.
 *
 * Errors of every method: see {@link Store}.
 */
export interface UpkeepQueries {
  /**
   * Registrations and rotations that need recovery and are not held under a lease: `pending` ones, unanswered `active` ones
   * without an idempotency key, and `failed` ones whose sweep is due. Oldest first; if there are more than `limit`, a store
   * may choose those that have been due for longest.
   */
  listRecoverable(now: number, limit: number): Promise<Registration[]>
  /**
   * Registrations and rotations with an active, not replaced key whose response was begun at `answeredBy` or earlier and is not
   * recorded as delivered. Ordered by the time of the answer, then by id.
   */
  listInDoubt(answeredBy: number, limit: number): Promise<Registration[]>
  /** Spent uses that no registration accounts for and whose lease has expired, one entry for each spend. */
  listAbandonedUses(now: number, limit: number): Promise<AbandonedUses[]>
  /**
   * Keys whose end has come: `active` ones that have expired or whose overlap is over, and `ending` ones whose next deletion
   * attempt is due. Those that expired come first, then those that were revoked, then those that a rotation replaced; among
   * them the longest due first, then by id. An owner who rotates often delays no expiry and no revocation of others.
   * @param endedBy takes the place of `now` for keys that were not revoked
   */
  listDue(now: number, limit: number, endedBy?: number): Promise<Registration[]>
  /** Counts the work, and the keys that expire, by small indexes. Each number is exact up to 10,000. */
  countWork(times: CountedTimes): Promise<WorkCounts>
}

/**
 * The part of the store that the upkeep jobs call: one process at a time, the holder of the leader lease, runs them for all.
 * Every method is safe to run in several processes at once.
 *
 * Errors of every method: see {@link Store}.
 */
export interface UpkeepStore extends UpkeepQueries {
  /**
   * Refunds what {@link listAbandonedUses} finds. Atomic per entry: of two processes that refund the same one, one does.
   * @returns the entries that were refunded
   */
  refundAbandonedUses(now: number, limit: number): Promise<AbandonedUses[]>
  /**
   * Records that the sweeps due at `dueBy` are done, and gives their leases back, also of those whose next sweep is later.
   * Atomic per registration.
   */
  finishSweeps(ids: readonly string[], dueBy: number): Promise<void>

  /**
   * Moves those of these keys that are `active` and whose end has come to `ending`. A pending rotation of a registration that
   * has no active key any more can only be undone; an unanswered one is forgotten, and recovered. A registration whose present key
   * expires gives its place and its name back, see {@link Registration.holdsPlace}.
   *
   * Atomic per key. A crash may leave a rotation unmarked: it cannot be completed, and is marked before the ending is
   * finished. Audit: `registration.expired` for those that expired, nothing for those that were replaced.
   * @returns those that became `ending`, in the order of `ids`
   */
  startEndings(ids: readonly string[], now: number): Promise<Registration[]>
  /** Stores the usage of an `ending` key before its deletion, in place of earlier figures. Atomic. */
  saveUsage(id: string, usage: DailyUsage): Promise<void>
  /** Moves `ending` to `ended`: the keys are deleted. Atomic per registration. Audit: `key.deleted` with the reason. */
  finishEndings(ids: readonly string[], now: number): Promise<void>
  /** Records why the key of an `ending` registration could not be deleted, and that it is due again at `until`. Atomic. */
  postponeEnding(id: string, failure: Failure, until: number): Promise<void>

  /**
   * Removes up to `limit` proofs that expired before `before`, and as many access tokens; none where the database removes them by
   * itself. Atomic.
   * @returns the larger number of the two
   */
  purgeProofs(before: number, limit: number): Promise<number>

  /**
   * Takes or renews the leader lease `name`.
   *
   * Atomic: of two processes that take an expired lease, one gets it.
   * @returns `false`: another process holds it
   */
  takeLeaderLease(name: string, lease: Lease, now: number): Promise<boolean>
  /** Gives the leader lease back early, if `owner` holds it. Atomic. */
  releaseLeaderLease(name: string, owner: string): Promise<void>
}
