import type { DailyUsage, Registration } from '../store/records.ts'

/** The acceptances in a row after which a key of the pool counts as working: each is a request with the key. */
export const ACCEPTED_PROBES = 3

/**
 * Reports whether the usage of a key may show that its caller used it. So many probes of a key of the pool as let it count as working
 * show nothing. A key that needed more, or was not seen to work, may be taken for a used one, never the other way round.
 */
export function isUsedByCaller(
  { seenWorking = false }: Pick<Registration, 'seenWorking'>,
  days: DailyUsage,
): boolean {
  const used = Object.values(days).reduce((sum, requests) => sum + requests, 0)
  return used > (seenWorking ? ACCEPTED_PROBES : 0)
}
