import { InvalidArgumentError } from 'commander'
import { parseDuration } from './duration.ts'

/** A duration as an option's value, in milliseconds. */
export function duration(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined) throw new InvalidArgumentError('A duration as in 90s, 15m, 12h, 7d or 4w.')
  return ms
}
