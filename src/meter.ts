import type { ErrorCode } from './error-catalogue.ts'

/** The operations of callers that are counted: `exchange` is that of the token endpoint. */
export const METERED_OPERATIONS = ['register', 'rotate', 'revoke', 'exchange'] as const
export type MeteredOperation = (typeof METERED_OPERATIONS)[number]

/**
 * The outcome of an operation. `succeeded`: the caller has a new key or token, or its keys are deleted. `replayed`: it has the
 * response of an earlier request. `refused`: the request or the state of its token or registration does not allow it (4xx).
 * `failed`: this service or what it needs could not do it (5xx). `left`: the caller disconnected before the response.
 */
export const OUTCOMES = ['succeeded', 'replayed', 'refused', 'failed', 'left'] as const
export type Outcome = (typeof OUTCOMES)[number]

/** A request of a caller that has ended. */
export interface MeteredRequest {
  readonly operation: MeteredOperation
  /** The name of the plan; `null`: none was chosen. */
  readonly plan: string | null
  readonly outcome: Outcome
  /** The error; `null`: there was none. */
  readonly code: ErrorCode | 'client_closed' | null
  readonly ms: number
}

/** An attempt of a call to API Gateway that was sent and has ended. */
export interface MeteredCall {
  /** The name of the SDK's command without "Command", as in `CreateApiKey`. */
  readonly operation: string
  /** The HTTP status; `null`: no complete response arrived. */
  readonly status: number | null
  /** The time from the moment at which it was sent, in milliseconds. */
  readonly ms: number
  /** The time for which it waited for its turn before that, in milliseconds. */
  readonly waitedMs: number
}

/** A write transaction of the store that has ended. */
export interface Commit {
  /** With the time for which it waited for others. */
  readonly ms: number
  /** `false`: the store could not be written. */
  readonly succeeded: boolean
}

/** The counts of the store and the account, which the process makes that runs the background work of all. */
export interface WorkInStore {
  readonly pending: number
  readonly inDoubt: number
  readonly ending: number
  /** The keys whose latest deletion failed. */
  readonly failing: number
  /** The keys that expire within so many days. */
  readonly expiring: readonly { readonly days: number; readonly count: number }[]
  /** The keys of the account and Region; `null`: they are not counted. */
  readonly accountKeys: number | null
}

/** The present state of the process. Reading it calls nothing. */
export interface ProcessState {
  /** The registrations that wait to be minted. */
  queue(): { readonly length: number; readonly oldestMs: number }
  /** The requests for keys that are worked on. */
  inFlight(): number
  /** This process runs the background work of all processes that share the store. */
  holdsDuty(): boolean
  /** The latest readiness check succeeded, whoever asked for it, and no fault that lasts is known. */
  isReady(): boolean
  /** As `ClockCheck.ahead`, in milliseconds. */
  clockAhead(): number
  /** The trust file has faults, so that the rules before it stay in force. */
  trustFileIsRefused(): boolean
  /** The pool of the whole service. */
  pool(): readonly PoolOfPlan[]
}

/** The keys of one plan that are made beforehand. */
export interface PoolOfPlan {
  readonly plan: string
  readonly size: number
  /** The number of keys, by state. */
  readonly counts: Readonly<Record<string, number>>
}

/** Counts and measures the work of this process for its operator. No method throws. */
export interface Meter {
  request(ended: MeteredRequest): void
  call(ended: MeteredCall): void
  commit(ended: Commit): void
  /** Registrations or rotations were undone: they have no key, and gave their use back. */
  undone(reason: string, count: number): void
  /** A registration or rotation took a key that was made beforehand. */
  handedOut(plan: string): void
  /** @param work `null`: another process counts, or it cannot be counted */
  counted(work: WorkInStore | null): void
  /** Names where the present state is read. */
  watch(state: ProcessState): void
}
