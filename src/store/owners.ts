import type { Actor } from './audit.ts'
import type { DailyUsage, Registration } from './records.ts'

/**
 * The part of the store that a registration's owner, or an operator for the owner, calls: to take keys back, and for their
 * usage.
 *
 * Errors of every method: see {@link Store}.
 */
export interface OwnerStore {
  /**
   * Revokes a registration with all its keys. `active` and `ending` ones, of the registration and its rotations, become
   * `ending` as revoked; `pending` ones can only be undone. Those that are revoked already keep the time of their next
   * deletion attempt. A registration that was active gives its place and its name back, see {@link Registration.holdsPlace}. Write
   * it before the first deletion: from here on no retry receives the key, and no rotation replaces it.
   *
   * Atomic as a whole for keys that are `active` or `pending`; per registration for the reason of those that are already
   * `ending`, which a crash may leave as it was. Audit: one `registration.revoked`, with the key of the newest record that
   * changed.
   * @returns the registration and its rotations that are `ending` now, in this order, rotations oldest first; empty for an
   *   unknown id
   */
  revokeRegistration(id: string, actor: Actor, now: number): Promise<Registration[]>
  /**
   * Adds up what is stored of the usage of a registration's replaced keys ({@link Registration.finalUsage}), by day, from the
   * first to the last day. Reads only.
   */
  sumFinalUsage(id: string, days: { readonly from: string; readonly to: string }): Promise<DailyUsage>
}
