import { InvalidArgumentError } from 'commander'
import { systemClock } from '../clock.ts'
import { parseDuration } from '../duration.ts'

const DURATION_RULE = 'Expected a duration such as 90s, 15m, 12h, 7d, 4w or 1y'
const TIME_RULE = 'or a time such as 2026-11-24, 2026-11-24T12:00 (both UTC) or 2026-11-24T12:00+01:00'

/** The form of an ISO 8601 date, with a time of day and an offset or without. */
const DATE = /^\d{4}-\d\d-\d\d$/
const TIME = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::[0-5]\d(?:\.\d{1,9})?)?(?<offset>Z|[+-]\d\d(?::?\d\d)?)?$/i

/** Parses an option's duration. @returns milliseconds @throws InvalidArgumentError */
export function duration(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined) throw new InvalidArgumentError(`${DURATION_RULE}.`)
  return ms
}

/**
 * Parses an option's time in the past: an age (`7d`) or a {@link parseTime time}.
 * @returns milliseconds since the epoch
 * @throws InvalidArgumentError
 */
export function pastTime(text: string): number {
  const ago = parseDuration(text)
  return ago === undefined ? parseTime(text) : systemClock() - ago
}

/** A time in the future, which may be relative: returns milliseconds since the epoch. */
export type FutureTime = (now: number) => number

/**
 * Parses an option's time in the future: a duration from now (`7d`) or a {@link parseTime time}.
 * @throws InvalidArgumentError also if the time is over
 */
export function futureTime(text: string): FutureTime {
  const ahead = parseDuration(text)
  if (ahead !== undefined) return (now) => now + ahead
  const at = parseTime(text)
  if (at <= systemClock()) throw new InvalidArgumentError('This time is in the past.')
  return () => at
}

/**
 * Parses a date or a date with a time of day, ISO 8601. UTC unless it has an offset; a date alone is its first moment.
 * @returns milliseconds since the epoch
 * @throws InvalidArgumentError also for a date or a time of day that does not exist
 */
function parseTime(text: string): number {
  const time = DATE.test(text) ? `${text}T00:00` : text
  const form = TIME.exec(time)
  if (form === null) throw new InvalidArgumentError(`${DURATION_RULE}, ${TIME_RULE}.`)
  try {
    return Temporal.Instant.from(form.groups?.['offset'] === undefined ? `${time}Z` : time).epochMilliseconds
  } catch {
    throw new InvalidArgumentError(`There is no such date or time. ${DURATION_RULE}, ${TIME_RULE}.`)
  }
}

/** Parses an option's page size. @throws InvalidArgumentError */
export function pageSize(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a whole number from 1 to 999999.')
}
