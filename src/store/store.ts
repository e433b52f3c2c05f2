import type { Actor, AuditTrail } from './audit.ts'
import type { Listing } from './listing.ts'

/** What the operator decides when a bootstrap token is created. Times are milliseconds. */
export interface TokenPolicy {
  readonly label: string
  /** Plans a registration may ask for, the first is the default. Empty: the default plan of the service only. */
  readonly plans: readonly string[]
  /** How many registrations the token allows; `null`: any number. */
  readonly maxUses: number | null
  /** Since the epoch; `null`: never. */
  readonly expiresAt: number | null
  /** How long the minted keys live; `null`: for ever. */
  readonly keyTtlMs: number | null
  /** What the names of registrations must start with; empty: anything. */
  readonly namePrefix: string
  /** Requests a minute; `null`: no limit of its own. */
  readonly ratePerMinute: number | null
}

/** A bootstrap token as it is remembered: everything but the secret itself. */
export interface BootstrapToken extends TokenPolicy {
  readonly id: string
  /** SHA-256 of the secret. */
  readonly secretHash: Uint8Array
  /** Registrations that are pending or active; failed ones have given their use back. */
  readonly uses: number
  readonly createdAt: number
  readonly revokedAt: number | null
}

/**
 * `pending`: begun, and API Gateway may or may not hold a key for it.
 * `active`: the key works and was answered. `failed`: undone, no key is left and the use was given back.
 * `ending`: the key is to be deleted, and nobody is given it any more. `ended`: it is deleted.
 */
export type RegistrationStatus = 'pending' | 'active' | 'failed' | 'ending' | 'ended'

/** Why a key went, or goes: its time was over, another one took its place, or somebody took it back. */
export type EndReason = 'expired' | 'rotated' | 'revoked'

/** What makes a registration the next key of another one. */
export interface Rotation {
  /** The registration whose key is replaced. */
  readonly of: string
  /** How long the replaced key still works, in milliseconds. */
  readonly overlapMs: number
  /** The management token in its answer takes the place of the one there is. */
  readonly renewsManagement: boolean
}

/** What lets a request be recognised and answered again. Forgotten after a day, and when its token is revoked. */
export interface Idempotency {
  /** Of the idempotency key, scoped to the token. */
  readonly keyHash: Uint8Array
  /** Of the request's body. */
  readonly requestHash: Uint8Array
  /** The answer's secrets, readable only with what the caller has. */
  readonly sealed: Uint8Array
}

/** What is known of a registration before API Gateway is called. */
export interface NewRegistration {
  readonly id: string
  readonly tokenId: string
  readonly name: string
  readonly description: string
  readonly plan: string
  readonly usagePlanId: string
  /** SHA-256 of the management token. */
  readonly managementHash: Uint8Array
  readonly createdAt: number
  /** When the key ends; `null`: never. */
  readonly expiresAt: number | null
  readonly idempotency: Idempotency | null
  /** `null`: it is a registration of its own. */
  readonly rotation: Rotation | null
}

/** Who works on a registration, and until when nobody else may. A lease that is not renewed lapses. */
export interface Lease {
  readonly owner: string
  readonly until: number
}

/** A registration, and the owner of the lease under which it is worked on. */
export interface Held {
  readonly id: string
  readonly owner: string
}

/** The good end of a registration. */
export interface Completion extends Held {
  readonly actor: Actor
  readonly apiKeyId: string
  /** Asked at the moment of writing: whether a caller still waits for the key. */
  readonly answered: () => boolean
}

export interface Registration extends NewRegistration {
  readonly status: RegistrationStatus
  readonly apiKeyId: string | null
  /** When the status became `active`, `failed` or `ended`. */
  readonly endedAt: number | null
  /** The error code of a `failed` registration; of an `ending` one, why its key could not be deleted yet. */
  readonly failure: string | null
  /** When a caller was given the key; `null` for an `active` one: it waits for its retry. */
  readonly answeredAt: number | null
  readonly lease: Lease | null
  /** When to look in API Gateway once more for a key that came late, though the registration failed; `null`: no need. */
  readonly sweepAt: number | null
  /** Its key is being deleted: nobody may be given it any more. */
  readonly undoing: boolean
  /** When the key goes: it expires or its overlap is over; of an `ending` one, when to try next. `null`: never. */
  readonly endsAt: number | null
  readonly endReason: EndReason | null
  /** Of a rotation that was answered: the registration or rotation whose key it replaced. */
  readonly replacedId: string | null
  /** The rotation whose key is the one of this registration now; `null`: its own. */
  readonly currentId: string | null
  /** SHA-256 of the management token before the last renewal: good for asking again for the renewal's answer. */
  readonly previousManagementHash: Uint8Array | null
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
   * `pending` becomes `active`, for the holders of the leases only and unless it is being undone, in one transaction.
   * A rotation does as long as the registration has a key; when it is answered its key becomes the registration's, the
   * one before is left its overlap, and one that overlapped already is due.
   * @returns the ids of those that did; nothing of the others is changed
   */
  completeRegistrations(completions: readonly Completion[], now: number): Promise<Set<string>>
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
   * Records that a caller was given the key, once more perhaps. `false` if the registration, or what it rotates, has no
   * key any more.
   */
  markAnswered(id: string, actor: Actor, now: number): Promise<boolean>
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
  /** The registration with this management token, or that had it before the last renewal. */
  findByManagementHash(managementHash: Uint8Array): Promise<Registration | undefined>
  /** What was begun to rotate a registration, oldest first. */
  listRotations(registrationId: string): Promise<Registration[]>

  /**
   * Takes a registration's keys back: what is `active` of it becomes `ending`, and what is `pending` can only be
   * undone.
   * @returns it and its rotations, as far as they are `ending`
   */
  revokeRegistration(id: string, actor: Actor, now: number): Promise<Registration[]>
  /** What is `active` of these becomes `ending`, as revoked: their keys alone, not what they belong to. */
  endKeys(ids: readonly string[], actor: Actor, now: number): Promise<Registration[]>
  /**
   * What is `active` becomes `ending` when its time is over.
   * @returns what is `ending` and due, longest due first
   */
  listDue(now: number, limit: number): Promise<Registration[]>
  /** `ending` becomes `ended`: the keys are gone. */
  finishEndings(ids: readonly string[], now: number): Promise<void>
  /** A key could not be deleted, for this reason: it is due again at `until`. */
  postponeEnding(id: string, failure: string, until: number): Promise<void>
  /** Takes, or renews, the lease on work that one process does for all. `false`: another process holds it. */
  takeDuty(name: string, lease: Lease, now: number): Promise<boolean>
  /** Gives it back early. */
  releaseDuty(name: string, owner: string): Promise<void>

  /** Resolves if the store answers and can be written to. */
  ping(): Promise<void>
  close(): Promise<void>
}
