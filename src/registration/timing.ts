/** The times by which registrations are worked on, taken over and forgotten, in milliseconds; other ones for tests. */
export interface Timing {
  /** How long a lease holds without being renewed: a process that died is taken over after this. */
  readonly lease: number
  /** How often leases are looked at, and renewed if they are older than this. */
  readonly renew: number
  /** How often recovery looks. */
  readonly recover: number
  /** Beyond its deadline, how long a registration that has an idempotency key may go on in the background. */
  readonly afterDeadline: number
  /** How long one round of undoing may take; what is left then is recovered later. */
  readonly undo: number
  /** After a call without a clear answer, when to look once more for a key that came late. */
  readonly sweepAfter: number
  /** How long one attempt of one call to API Gateway may take; the SDK makes three. */
  readonly upstreamCall: number
  /** How long API Gateway's word is not taken after it proved wrong, and how often it is tested while it is. */
  readonly distrust: number
  /** How often to look for keys whose time is over. */
  readonly end: number
  /** The least time between two of their deletions. */
  readonly endSpacing: number
  /** When to try again what could not be deleted. */
  readonly endRetry: number
  /** How long a process keeps the work that it does for all, without renewing it: one that died is followed after this. */
  readonly leaderLease: number
  /** How often to forget idempotency keys that are older than they are remembered. */
  readonly forget: number
  /** How often to remove old audit entries. */
  readonly purge: number
  /** How long an idempotency key is remembered. */
  readonly idempotency: number
}

export const defaultTiming: Timing = {
  lease: 5_000,
  renew: 1_000,
  recover: 2_000,
  afterDeadline: 60_000,
  undo: 20_000,
  sweepAfter: 60_000,
  upstreamCall: 6_000,
  distrust: 10 * 60_000,
  end: 5_000,
  endSpacing: 500,
  endRetry: 15_000,
  leaderLease: 10_000,
  forget: 30_000,
  purge: 3_600_000,
  idempotency: 24 * 3_600_000,
}
