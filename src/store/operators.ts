import type { Actor } from './audit.ts'
import type { BootstrapToken, NewRegistration, Registration, RegistrationStatus } from './records.ts'

/**
 * The status that owners and operators see, derived from the record of the present key: `expired` as soon as the key has
 * expired, even if it is not deleted yet.
 */
export const PUBLIC_STATUSES = ['active', 'suspended', 'expired', 'revoked', 'pending', 'failed'] as const
export type PublicStatus = (typeof PUBLIC_STATUSES)[number]

export interface RegistrationWithKeyFilter {
  readonly status?: PublicStatus | undefined
  readonly tokenId?: string | undefined
  /** The name of the plan that the present key was minted on. */
  readonly plan?: string | undefined
  /** Only registrations that are active now and expire at this time or earlier. */
  readonly expiringBy?: number | undefined
  /** Only registrations whose present key was answered at this time or earlier, and is not recorded as delivered. */
  readonly inDoubtBy?: number | undefined
  /** Only registrations with a key that is being minted or may still be in API Gateway. */
  readonly withKey?: boolean | undefined
  /** The last registration of the previous page. */
  readonly after?: Registration | undefined
  readonly limit: number
}

/** A registration, and the registration or rotation that minted its present key. */
export interface RegistrationWithKey {
  readonly registration: Registration
  readonly current: Registration
}

export interface StatusCount {
  readonly plan: string
  readonly status: PublicStatus
  readonly count: number
}

export interface RegistrationFilter {
  readonly status?: RegistrationStatus | undefined
  readonly tokenId?: string | undefined
  readonly limit: number
}

/** A key that API Gateway has and the store does not, as a registration. */
export type AdoptedKey = Omit<
  NewRegistration,
  'expiresAt' | 'idempotency' | 'rotation' | 'clientMetadata' | 'federated' | 'seenWorking'
> & {
  readonly apiKeyId: string
}

/**
 * The part of the store that the operator's commands call: bootstrap tokens, and lists of registrations.
 *
 * All lists are ordered newest first; entries of the same millisecond by id, descending. They may lag behind the latest
 * writes by {@link listingLagMs}. Errors of every method: see {@link Store}.
 */
export interface OperatorStore {
  /** The longest time by which lists may lag behind what was written, in milliseconds; 0: not at all. */
  readonly listingLagMs: number

  /**
   * Records a new bootstrap token. Atomic as a whole.
   * @throws Error if its id or its secret is taken
   */
  createToken(token: BootstrapToken, actor: Actor): Promise<void>
  /** All bootstrap tokens. Reads only. */
  listTokens(): Promise<BootstrapToken[]>
  /**
   * Revokes a bootstrap token: it begins no registration any more. Also forgets the idempotency keys and sealed secrets of
   * its registrations, but not those of rotations: their owners hold a management token, which stays valid. A token that is
   * revoked already keeps its first date.
   *
   * Atomic as a whole for the revocation, per registration for the forgetting. A crash in between leaves sealed secrets
   * until they are forgotten after a day, or until the token is revoked again; no retry receives them, because a revoked
   * token's requests are not replayed.
   * @returns the token after the revocation; `undefined`: there is no such token
   */
  revokeToken(id: string, actor: Actor, now: number): Promise<BootstrapToken | undefined>

  /**
   * Ends single keys that are gone from API Gateway: those that are `active` become `ending` as revoked, and a pending
   * rotation that was to replace one of them can only be undone. An unanswered one is forgotten, and recovered. A registration
   * whose present key ends gives its place and its name back, see {@link Registration.holdsPlace}.
   *
   * Atomic per id. A crash may leave the rotation unmarked: it cannot be completed, and is marked before the ending is
   * finished. Audit: `registration.revoked` with the detail `key_missing`.
   * @returns the records that became `ending`
   */
  endKeys(ids: readonly string[], actor: Actor, now: number): Promise<Registration[]>

  /**
   * Records a registration whose key exists and was delivered, under its id and for its token, whether that is usable or not.
   *
   * Atomic as a whole: of two that adopt the same key, one does. Audit: `registration.adopted`.
   * @returns `false`, and nothing is written: there is a record with this id
   */
  adoptKey(key: AdoptedKey, actor: Actor, now: number): Promise<boolean>

  /** Registrations with their present keys, without rotations as entries of their own. Reads only. */
  listWithKeys(filter: RegistrationWithKeyFilter, now: number): Promise<RegistrationWithKey[]>
  /** The number of registrations by plan and status, without rotations, ordered by plan and status. Reads only. */
  countByStatus(now: number): Promise<StatusCount[]>
  /** The number of keys that API Gateway holds for this store: `active` and `ending`, rotations included. Reads only. */
  countKeys(): Promise<number>
  /** Registrations and rotations as they are stored. Reads only. */
  listRegistrations(filter: RegistrationFilter): Promise<Registration[]>
}
