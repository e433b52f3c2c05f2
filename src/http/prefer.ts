/** The longest wait that is understood, in seconds: what is more is as good as this. */
const LONGEST_S = 3_600

/**
 * The seconds of `Prefer: wait=…` (RFC 7240, section 4.3); `undefined` where there is none that can be read, or it says not
 * to wait: a preference is never an error. Of several the first counts (section 2).
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
