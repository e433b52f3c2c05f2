/** Returns the current time in milliseconds since the Unix epoch. Injected wherever behaviour depends on the time. */
export type Clock = () => number

export const systemClock: Clock = Date.now

export const DAY_MS = 86_400_000

/** Returns the day of a time in milliseconds since the epoch: `YYYY-MM-DD`, UTC. */
export function dateOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
