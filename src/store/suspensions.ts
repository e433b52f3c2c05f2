import type { Actor } from './audit.ts'
import type { Registration } from './records.ts'

/**
 * The part of the store that suspends and resumes registrations. A key of a suspended registration exists, and is disabled in
 * API Gateway. The intent is recorded first: until API Gateway agrees, the key is to be switched, see `isSwitchDue` in
 * lifecycle.ts.
 *
 * Errors of every method: see {@link Store}.
 */
export interface SuspensionStore {
  /**
   * Suspends a registration, or resumes it: marks its `active` keys, the present one and those of its rotations. From here on
   * no retry receives a suspended key, and no rotation replaces it. All marked keys are to be switched at `now`.
   *
   * Atomic as a whole: a rotation that is completed or answered meanwhile is either marked too, or refused. Audit: one
   * `registration.suspended` or `registration.resumed`, with the newest key that changed; none if no key changed.
   * @returns the records of the registration whose keys are still to be switched; empty for an unknown id
   */
  setSuspended(id: string, suspended: boolean, actor: Actor, now: number): Promise<Registration[]>
  /** Records whose keys are to be switched now, ordered by `switchAt`, then by id. Reads only. */
  listSwitches(now: number, limit: number): Promise<Registration[]>
  /**
   * Records that the key is as `suspendedAt` says. Atomic.
   * @returns `false`, and nothing is written, if the key was suspended or resumed since
   */
  finishSwitch(seen: Pick<Registration, 'id' | 'suspendedAt'>): Promise<boolean>
  /** Records that the key could not be switched, and is due again at `until`, if it is still to be switched. Atomic. */
  postponeSwitch(id: string, until: number): Promise<void>
}
