import type { Caller } from '../../auth/bootstrap-token.ts'
import type { Plan } from '../../config.ts'
import { ServiceError } from '../../errors.ts'
import type { BootstrapToken, Federated, Held, NewRegistration, Rotation } from '../../store/records.ts'
import type { Credential, RegistrationCall } from '../deps.ts'
import type { Waiter } from '../idempotency/in-flight.ts'
import type { CredentialSecrets, RequestIdentity } from '../idempotency/request-identity.ts'
import { SLOWNESS_MS } from '../retry-after.ts'
import type { Timing } from '../timing.ts'
import { clientClosed, outOfTime } from '../use-case-errors.ts'

/** A queued request for a key. It is not recorded yet, unless an earlier request began it. */
export interface MintRequest {
  readonly token: BootstrapToken
  readonly name: string
  readonly description: string
  readonly plan: Plan
  /** `null`: a registration of its own. */
  readonly rotation: Rotation | null
  /** As in the record. */
  readonly clientMetadata: string | null
  /** As in the record. */
  readonly federated: Federated | null
  /** The credential of a registration; `null`: it is a rotation by the owner or an operator. */
  readonly shown: Caller['kind'] | null
  /** The time at which the key expires (ms since the epoch; `null`: never), where it is not the token's lifetime that decides. */
  readonly expiresAt?: number | null
  /** `null`: the request has no idempotency key, so that no retry can ask for its result. */
  readonly identity: RequestIdentity | null
  /** The record that an earlier request left `pending`, under a lease of this process. */
  readonly begun:
    | (Held & { readonly registration: NewRegistration; readonly secrets: CredentialSecrets })
    | null
  readonly call: RegistrationCall
  /** The caller, and the callers of retries that joined it. */
  readonly waiters: readonly Waiter[]
  /** The deadline of the response, on the clock of `performance.now()`. */
  readonly answerBy: number
  /** The time at which it joined the queue, on the same clock. */
  readonly admittedAt: number
  readonly resolve: (credential: Credential) => void
  readonly reject: (error: unknown) => void
}

/** A request before it joins the queue. */
export type NewMintRequest = Omit<MintRequest, 'admittedAt' | 'resolve' | 'reject'>

/** A `pending` registration or rotation, and the lease under which this process mints its key. */
export interface PendingMint extends Held {
  readonly registration: NewRegistration
  readonly secrets: CredentialSecrets
  readonly request: MintRequest
  /** A call of this process or an earlier one may have created the key: undoing then looks it up. */
  keyMayExist: boolean
  /** The id of the key; `null`: it is not known yet. */
  apiKeyId: string | null
}

/** Notes that the failure of a call may have left keys, unless API Gateway clearly rejected it. */
export function noteFailure(mints: readonly PendingMint[], error: unknown): void {
  if (error instanceof ServiceError && error.effect === 'none') return
  for (const mint of mints) mint.keyMayExist = true
}

/**
 * The time until which a request is worked on, on the clock of `performance.now()`: its deadline, or some time after it with
 * an idempotency key, because a retry can ask for the result.
 */
export function endOf({ answerBy, identity }: MintRequest, { afterDeadline }: Timing): number {
  return answerBy + (identity === null ? 0 : afterDeadline)
}

/** Reports whether a caller still waits for the response. */
export function isAwaited({ waiters }: MintRequest): boolean {
  return waiters.some((one) => one.waits())
}

/** The error of a request that no caller waits for any more. */
export function notAwaited({ waiters }: MintRequest): ServiceError {
  return waiters.every((one) => one.hasLeft()) ? clientClosed() : outOfTime(SLOWNESS_MS)
}

/**
 * The time until which the response may be held for a key that the API accepts, on the clock of `performance.now()`: the
 * earliest of all callers that still wait. `null`: one of them does not want to wait, or none waits any more.
 */
export function heldUntil({ waiters }: MintRequest): number | null {
  let until = Number.POSITIVE_INFINITY
  for (const { waits, readyBy } of waiters) {
    if (!waits()) continue
    if (readyBy === null) return null
    until = Math.min(until, readyBy)
  }
  return Number.isFinite(until) ? until : null
}
