import type { Plan } from '../../config.ts'
import { ServiceError } from '../../errors.ts'
import type { BootstrapToken, Held, NewRegistration, Rotation } from '../../store/records.ts'
import type { Credential, RegistrationCall } from '../deps.ts'
import type { Waiter } from '../idempotency/in-flight.ts'
import type { CredentialSecrets, RequestIdentity } from '../idempotency/request-identity.ts'

/** A registration that waits for its turn. Nothing of it is recorded yet, unless it was begun earlier. */
export interface MintRequest {
  readonly token: BootstrapToken
  readonly name: string
  readonly description: string
  readonly plan: Plan
  /** `null`: a registration of its own. */
  readonly rotation: Rotation | null
  /** `null` without an idempotency key: then nobody can ask for the result later. */
  readonly identity: RequestIdentity | null
  /** What an earlier request began and left `pending`, under a lease of its own. */
  readonly begun:
    | (Held & { readonly registration: NewRegistration; readonly answer: CredentialSecrets })
    | null
  readonly call: RegistrationCall
  /** The caller, and those who sent the same request again. */
  readonly waiters: readonly Waiter[]
  /** When the caller is answered that it took too long, on the clock of `performance.now()`. */
  readonly answerBy: number
  readonly resolve: (credential: Credential) => void
  readonly reject: (error: unknown) => void
}

/** A registration that is `pending`, and the lease under which this process works on it. */
export interface PendingMint extends Held {
  readonly registration: NewRegistration
  readonly answer: CredentialSecrets
  readonly order: MintRequest
  /** Set once a call may have made its key, by this process or an earlier one: undoing then looks for it. */
  keyMayExist: boolean
}

/** Notes on works what the failure of a call tells of their keys: only a clear refusal says that none was made. */
export function noteFailure(works: readonly PendingMint[], error: unknown): void {
  if (error instanceof ServiceError && error.effect === 'none') return
  for (const work of works) work.keyMayExist = true
}

/** Whether somebody still waits for the answer. */
export function isAwaited({ waiters }: MintRequest): boolean {
  return waiters.some((one) => one.waits())
}

/**
 * Until when the answer may be held for a key that works: as long as all who wait would rather wait, on the clock of
 * `performance.now()`; `null`: not at all.
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

export function callerGone(): ServiceError {
  return new ServiceError('upstream_unavailable', 'Nobody waits for the answer any more.', { retryAfter: 5 })
}

/** Too many came at once. @param ms how long those that wait will take */
export function overloaded(ms: number): ServiceError {
  return new ServiceError('overloaded', 'Too many registrations are waiting for API Gateway.', {
    retryAfter: Math.max(1, Math.ceil(ms / 1_000)),
  })
}
