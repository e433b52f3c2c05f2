import { InvalidArgumentError } from 'commander'
import { systemClock } from '../clock.ts'
import { parseDuration } from './duration.ts'

const DURATION_RULE = 'Expected a duration such as 90s, 15m, 12h, 7d or 4w'

/** Parses an option's duration. @returns milliseconds @throws InvalidArgumentError */
export function duration(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined) throw new InvalidArgumentError(`${DURATION_RULE}.`)
  return ms
}

/**
 * Parses an option's time in the past: an age (`7d`) or a date (`2026-11-24`).
 * @returns milliseconds since the epoch
 * @throws InvalidArgumentError
 */
export function pastTime(text: string): number {
  const ago = parseDuration(text)
  const at = ago === undefined ? Date.parse(text) : systemClock() - ago
  if (Number.isNaN(at) || (ago === undefined && !/^\d{4}-\d\d-\d\d/.test(text)))
    throw new InvalidArgumentError(`${DURATION_RULE}, or a time such as 2026-11-24 or 2026-11-24T12:00:00Z.`)
  return at
}

/** Parses an option's page size. @throws InvalidArgumentError */
export function pageSize(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a whole number from 1 to 999999.')
}
