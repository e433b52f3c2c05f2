import type { DailyUsage } from '../store/records.ts'

/** Returns the number of days on which a key was used, and the last of them; `undefined`: none. */
export function summarizeUse(daysUsed: DailyUsage): { count: number; last: string | undefined } {
  const days = Object.keys(daysUsed).sort()
  return { count: days.length, last: days.at(-1) }
}

/** Says in words on which of the last 90 days a key was used. */
export function describeUse(daysUsed: DailyUsage): string {
  const { count, last } = summarizeUse(daysUsed)
  return last === undefined
    ? 'not used in the last 90 days'
    : `used on ${count} of the last 90 days, last on ${last}`
}
