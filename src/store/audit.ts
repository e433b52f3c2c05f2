import type { Registration, Rotation } from './records.ts'

/** A bootstrap token, the owner of a registration, an operator, or the service by itself. */
export const ACTOR_KINDS = ['token', 'registration', 'operator', 'service'] as const

/** Who does something, and in which request. */
export interface Actor {
  readonly kind: (typeof ACTOR_KINDS)[number]
  /** `tok_…`, `reg_…`, the operator's user name; `null` for the service. */
  readonly id: string | null
  /** `null` where there was no request. */
  readonly requestId: string | null
  readonly clientAddress: string | null
}

/** The service, of its own accord. */
export const SERVICE: Actor = { kind: 'service', id: null, requestId: null, clientAddress: null }

/** What may have been done. `registration.undone`: it failed, and no key of it is left. `key.deleted`: it is gone from AWS. */
export const AUDIT_ACTIONS = [
  'token.created',
  'token.revoked',
  'registration.created',
  'registration.rotated',
  'registration.replayed',
  'registration.undone',
  'registration.revoked',
  'registration.expired',
  'key.deleted',
  'request.refused',
  'command.run',
] as const

export type AuditAction = (typeof AUDIT_ACTIONS)[number]

/** One line of the audit trail. No secret is in it. */
export interface AuditEntry {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly actor: Actor
  readonly action: AuditAction
  /** The error code of a refusal or an undoing, why a key ended, or the operator's command. */
  readonly detail: string | null
  readonly tokenId: string | null
  /** Of a rotation: the registration that it rotates. */
  readonly registrationId: string | null
  readonly apiKeyId: string | null
}

/** An entry as it was recorded. `id` orders entries, and names one for the next page. */
export interface RecordedEntry extends AuditEntry {
  readonly id: string
}

export interface AuditFilter {
  readonly since?: number | undefined
  readonly registrationId?: string | undefined
  readonly tokenId?: string | undefined
  /** The id of the last entry of the page before. */
  readonly after?: string | undefined
  readonly limit: number
}

/**
 * The part of the store that remembers who did what. Nothing changes an entry. What the store itself changes it records
 * in the same transaction, so that there is neither a change without its entry nor an entry without its change.
 */
export interface AuditTrail {
  /** Records what is no change of the store: refusals, commands. */
  appendAudit(entries: readonly AuditEntry[]): Promise<void>
  /** Newest first. */
  listAudit(filter: AuditFilter): Promise<RecordedEntry[]>
  /**
   * Removes entries older than `before`, at most `limit`, but none of a registration whose key is still there.
   * @returns how many
   */
  purgeAudit(before: number, limit: number): Promise<number>
}

/** A registration or rotation, as far as its entries tell of it. */
type Subject = Pick<Registration, 'id' | 'tokenId' | 'apiKeyId'> & {
  readonly rotation: Pick<Rotation, 'of'> | null
}

/** The entry of what happened to a registration or rotation. */
export function entryOf(
  action: AuditAction,
  { id, tokenId, rotation, apiKeyId }: Subject,
  { at, actor, detail = null }: { at: number; actor: Actor; detail?: string | null },
): AuditEntry {
  return { at, actor, action, detail, tokenId, registrationId: rotation?.of ?? id, apiKeyId }
}

/** The entry of what happened to a bootstrap token. */
export function tokenEntry(
  action: 'token.created' | 'token.revoked',
  tokenId: string,
  at: number,
  actor: Actor,
): AuditEntry {
  return { at, actor, action, detail: null, tokenId, registrationId: null, apiKeyId: null }
}
