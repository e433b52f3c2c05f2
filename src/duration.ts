const UNITS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 365 * 86_400_000,
}
const MAX_MS = 100 * 365 * 86_400_000

/**
 * Parses `90s`, `15m`, `12h`, `7d`, `4w` or `1y`, which is 365 days.
 * @returns milliseconds; `undefined` for any other text, or for more than 100 years
 */
export function parseDuration(text: string): number | undefined {
  const [, amount = '', unit = ''] = text.match(/^([1-9]\d{0,9})([smhdwy])$/) ?? []
  const ms = Number(amount) * (UNITS[unit] ?? Number.NaN)
  return ms > 0 && ms <= MAX_MS ? ms : undefined
}

/** Formats milliseconds for people, in the largest unit up to days that divides them: 604800000 is `7d`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm']) {
    const size = UNITS[unit] ?? Number.NaN
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`
  }
  return `${Math.round(ms / 1_000)}s`
}

/** Formats an age for people, rounded down to whole days, hours, minutes or seconds: at least two, but for seconds. */
export function formatAge(ms: number): string {
  for (const unit of ['d', 'h', 'm']) {
    const amount = Math.floor(ms / (UNITS[unit] ?? Number.NaN))
    if (amount >= 2) return `${amount}${unit}`
  }
  return `${Math.max(0, Math.floor(ms / 1_000))}s`
}
