import type { Timing } from './timing.ts'

/** How long the work takes that has to be done before a request can succeed. Every `Retry-After` follows from these. */

/** The time (ms) that the undoing of each of many registrations takes: API Gateway deletes 5 keys a second. */
export const UNDO_MS = 200

/** The time (ms) after which API Gateway may be quick again. */
export const SLOWNESS_MS = 5_000

/** The time (ms) after which a wrong clock may have been set right. */
export const CLOCK_MS = 60_000

/** Converts a time (ms) to a number of seconds for `Retry-After`. */
export function inSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1_000))
}

/** The time (ms) until recovery has undone what a living process left: its next round, and the calls of that. */
export function untilRecovered({ recover, upstreamCall }: Timing): number {
  return recover + upstreamCall
}

/** The time (ms) until a registration is undone that has been in doubt long enough: the next round, and the calls of that. */
export function untilSettled({ forget, settle, upstreamCall }: Timing): number {
  return forget + settle + upstreamCall
}

/** The time (ms) until recovery has undone what a dead process left, after its lease. That process may have been the leader. */
export function untilTakenOver(timing: Timing): number {
  return timing.leaderLease + untilRecovered(timing)
}

/** The time (ms) until what is under a lease, or was, is undone: its holder does it, or dies and recovery does. */
export function untilUndone(timing: Timing): number {
  return timing.lease + untilTakenOver(timing)
}
