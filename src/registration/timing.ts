/** The time limits and intervals of the work on registrations, in milliseconds. Tests use shorter ones. */
export interface Timing {
  /** The time until a lease expires unless it is renewed. After it, recovery takes over what a dead process left. */
  readonly lease: number
  /** The interval at which leases are checked. A lease that was last renewed longer ago is renewed. */
  readonly renew: number
  /** The interval between rounds of recovery. */
  readonly recover: number
  /** The time for which a registration with an idempotency key may continue after its response was due. */
  readonly afterDeadline: number
  /** The time limit for undoing a batch. Recovery undoes the remaining registrations later. */
  readonly undo: number
  /** The time after a response at which its delivery is recorded, together with others, and after which a failure is retried. */
  readonly deliver: number
  readonly deliverRetry: number
  /** The time after an answer at which it is in doubt, unless its delivery is recorded. */
  readonly inDoubtAfter: number
  /** The interval between rounds in which doubts are settled. */
  readonly settle: number
  /** The time between undoing a registration and its late-key check. */
  readonly sweepAfter: number
  /** The time limit of one attempt of a call to API Gateway. The SDK makes up to three attempts. */
  readonly upstreamCall: number
  /**
   * The longest time for which a circuit breaker stays open: bulk imports are not used, or every attachment is checked.
   * While attachments are not checked, also the minimum time between two tests of one.
   */
  readonly distrust: number
  /**
   * The time until a request is let through to see whether a standing fault is over. It is doubled after each one that
   * fails, up to the longest, which is also the time for which a fault is remembered without such a request.
   */
  readonly faultProbe: number
  readonly faultProbeLongest: number
  /** The interval between rounds of key deletions. */
  readonly end: number
  /** The minimum time between two deletions in a round. */
  readonly endSpacing: number
  /** The time until the deletion of a key is tried again after it failed. */
  readonly endRetry: number
  /** The time until the leader lease expires unless it is renewed. After it, another process can become the leader. */
  readonly leaderLease: number
  /** The interval at which expired idempotency keys are forgotten. */
  readonly forget: number
  /** The interval between purges of old audit entries, proofs and access tokens. */
  readonly purge: number
  /** The interval between counts of the work in the store, and of the keys of the account, if there are metrics. */
  readonly count: number
  readonly countAccount: number
  /** The time for which an idempotency key is remembered. */
  readonly idempotency: number
  /** The first period for which repeats of a refusal are counted and recorded together. The longest is ten times as long. */
  readonly refusals: number
  /**
   * The time for which usage figures are reused. API Gateway's are up to half an hour late anyway, and owners that poll must
   * not use up the control plane's quota.
   */
  readonly usageReuse: number
  /**
   * The time after which a new request may displace a registration whose key no retry has received. Longer than the clients
   * of this service retry: register.mjs does so for 5 minutes, and waits 35 seconds for a response.
   */
  readonly displaceAfter: number
  /** The interval between rounds of the pool's upkeep, and the time after a hand-out at which a round is begun early. */
  readonly poolRound: number
  readonly poolQuiet: number
  /** The time until the keys of the pool that a process holds are free for others, unless its holder is renewed. */
  readonly poolLease: number
  /** The interval at which the keys of the pool are looked up in API Gateway. */
  readonly poolCheck: number
  /** The time after a hand-out at which its key is renamed: other callers are answered first. */
  readonly poolRename: number
  /** The time between two probes of a key of the pool. */
  readonly poolProbe: number
  /** The longest time for which a refill lets batches of registrations go first. */
  readonly poolPatience: number
}

/** The times that a server uses. */
export const defaultTiming: Timing = {
  lease: 5_000,
  renew: 1_000,
  recover: 2_000,
  afterDeadline: 60_000,
  undo: 20_000,
  deliver: 100,
  deliverRetry: 1_000,
  inDoubtAfter: 60_000,
  settle: 60_000,
  sweepAfter: 60_000,
  upstreamCall: 6_000,
  distrust: 10 * 60_000,
  faultProbe: 5_000,
  faultProbeLongest: 60_000,
  end: 5_000,
  endSpacing: 500,
  endRetry: 15_000,
  leaderLease: 10_000,
  forget: 30_000,
  purge: 3_600_000,
  count: 60_000,
  countAccount: 15 * 60_000,
  idempotency: 24 * 3_600_000,
  refusals: 60_000,
  usageReuse: 60_000,
  displaceAfter: 6 * 60_000,
  poolRound: 5_000,
  poolQuiet: 250,
  poolLease: 15_000,
  poolCheck: 15_000,
  poolRename: 1_000,
  poolProbe: 300,
  poolPatience: 10_000,
}
