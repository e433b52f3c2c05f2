import { InvalidArgumentError } from 'commander'
import { systemClock } from '../clock.ts'
import { parseDuration } from './duration.ts'

const DURATION_RULE = 'A duration as in 90s, 15m, 12h, 7d or 4w'

/** A duration as an option's value, in milliseconds. */
export function duration(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined) throw new InvalidArgumentError(`${DURATION_RULE}.`)
  return ms
}

/** A time in the past as an option's value, by how long ago it is or as a date; milliseconds since the epoch. */
export function pastTime(text: string): number {
  const ago = parseDuration(text)
  const at = ago === undefined ? Date.parse(text) : systemClock() - ago
  if (Number.isNaN(at) || (ago === undefined && !/^\d{4}-\d\d-\d\d/.test(text)))
    throw new InvalidArgumentError(`${DURATION_RULE}, or a time as in 2026-11-24 or 2026-11-24T12:00:00Z.`)
  return at
}

/** How many a page holds at most, as an option's value. */
export function pageSize(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('A whole number from 1 to 999999.')
}
