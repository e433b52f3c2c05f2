/** The longest wait, in seconds; a longer one is reduced to it. */
const LONGEST_S = 3_600

/**
 * Reads the seconds of `Prefer: wait=…` (RFC 7240, section 4.3). Of several valid ones the first counts (section 2).
 * Returns `undefined` if there is no valid one, or if it is 0: a preference is never an error.
 */
export function readWait(header: string | string[] | undefined): number | undefined {
  const preferences = [header ?? []]
    .flat()
    .join(',')
    .split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/)
  for (const preference of preferences) {
    const [, seconds] = preference.match(/^\s*wait\s*=\s*"?(\d+)"?\s*(?:;|$)/i) ?? []
    if (seconds !== undefined) return Number(seconds) === 0 ? undefined : Math.min(Number(seconds), LONGEST_S)
  }
  return undefined
}
