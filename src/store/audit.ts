import type { Registration, Rotation } from './records.ts'

/**
 * The kinds of actors: a bootstrap token, a caller with an identity token that stands for none yet, the owner of a registration,
 * an operator, or the service itself.
 */
export const ACTOR_KINDS = ['token', 'identity', 'registration', 'operator', 'service'] as const

/** The identity that a federated caller showed. As JSON at most 4 KiB. */
export interface AuditIdentity {
  /** The URL of the configured issuer; of any other one the claim `iss`, which is the caller's own word. `null`: there was none. */
  readonly issuer: string | null
  /** The id of the rule that matched; `null`: none did. */
  readonly rule: string | null
  /** The claims by which the rule knows the caller or, without a rule, those that rules look at. None of an unverified token. */
  readonly claims: Readonly<Record<string, unknown>>
}

/** The actor of a change, and the request through which it acted. */
export interface Actor {
  readonly kind: (typeof ACTOR_KINDS)[number]
  /** `tok_…`, `reg_…`, or the operator's user name; `null` for the service and for an identity. */
  readonly id: string | null
  /** `null`: there was no request. */
  readonly requestId: string | null
  readonly clientAddress: string | null
  /** `null`: it is no federated caller. */
  readonly identity: AuditIdentity | null
}

/** The service itself: jobs, recovery, clean-up. */
export const SERVICE: Actor = {
  kind: 'service',
  id: null,
  requestId: null,
  clientAddress: null,
  identity: null,
}

/** `registration.undone`: it failed, and no key of it is left. `key.deleted`: the key is gone from API Gateway. */
export const AUDIT_ACTIONS = [
  'token.created',
  'token.revoked',
  'access_token.created',
  'registration.created',
  'registration.rotated',
  'registration.replayed',
  'registration.adopted',
  'registration.undone',
  'registration.suspended',
  'registration.resumed',
  'registration.revoked',
  'registration.expired',
  'key.deleted',
  'request.refused',
  'command.run',
] as const

export type AuditAction = (typeof AUDIT_ACTIONS)[number]

/** An entry of the audit trail. It contains no secret. */
export interface AuditEntry {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly actor: Actor
  readonly action: AuditAction
  /**
   * The error code of a refusal (with the number of its repeats) or an undoing, the reason for which a key ended, the
   * operator's command line, or that a registration or rotation took a pool key.
   */
  readonly detail: string | null
  readonly tokenId: string | null
  /** The registration; for a rotation, the registration that it rotates. */
  readonly registrationId: string | null
  readonly apiKeyId: string | null
}

/** An entry as it is stored. `id` is opaque: it names the entry as the cursor of a page. */
export interface RecordedEntry extends AuditEntry {
  readonly id: string
}

export interface AuditFilter {
  /** Entries of this time (ms since the epoch) or later. */
  readonly since?: number | undefined
  readonly registrationId?: string | undefined
  readonly tokenId?: string | undefined
  /** The id of the last entry of the previous page. */
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * The part of the store that records every change with its actor. Entries are never changed. The store records its own
 * changes together with them, so that there is neither a change without its entry nor an entry without its change.
 *
 * Errors of every method: see {@link Store}.
 */
export interface AuditTrail {
  /** Records events that change nothing in the store: refusals, commands. Atomic per entry. */
  appendAudit(entries: readonly AuditEntry[]): Promise<void>
  /**
   * Entries by their time, newest first; those of the same millisecond and process, the last recorded first. Reads only.
   * @throws Error `… is not the id of an audit entry` if `after` is not an id that this store gives its entries
   */
  listAudit(filter: AuditFilter): Promise<RecordedEntry[]>
  /**
   * Removes entries that are older than `before`, at most `limit`, except those of registrations whose key may still be in
   * API Gateway: `pending`, `active` and `ending` ones, and those with a rotation that is. Atomic per entry.
   * @returns the number of removed entries
   */
  purgeAudit(before: number, limit: number): Promise<number>
}

/** The fields of a registration or rotation that its audit entries contain. */
type Subject = Pick<Registration, 'id' | 'tokenId' | 'apiKeyId'> & {
  readonly rotation: Pick<Rotation, 'of'> | null
}

/** The entry of a change of a registration or rotation. */
export function entryOf(
  action: AuditAction,
  { id, tokenId, rotation, apiKeyId }: Subject,
  { at, actor, detail = null }: { at: number; actor: Actor; detail?: string | null },
): AuditEntry {
  return { at, actor, action, detail, tokenId, registrationId: rotation?.of ?? id, apiKeyId }
}

/** The entry of a change of a bootstrap token, or of an access token of it. */
export function tokenEntry(
  action: 'token.created' | 'token.revoked' | 'access_token.created',
  tokenId: string,
  at: number,
  actor: Actor,
): AuditEntry {
  return { at, actor, action, detail: null, tokenId, registrationId: null, apiKeyId: null }
}
