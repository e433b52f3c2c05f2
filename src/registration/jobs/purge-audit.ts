import type { Config } from '../../config.ts'
import type { RegistrationDeps } from '../deps.ts'

/** The maximum number of entries that are removed at once: other writes wait meanwhile. */
const CHUNK = 500

export type PurgeDeps = Pick<RegistrationDeps, 'store' | 'clockCheck' | 'log'> & {
  readonly config: Pick<Config, 'auditRetentionMs'>
}

/**
 * Removes all audit entries that are older than `config.auditRetentionMs`, except those of registrations whose key may
 * still be in API Gateway. Removes nothing while the clock is in doubt.
 * @param stop ends the purge after the present chunk
 * @throws ServiceError of the store
 */
export async function purgeAudit(
  { store, clockCheck, log, config }: PurgeDeps,
  stop?: AbortSignal,
): Promise<void> {
  const now = await clockCheck.certainNow()
  let removed = 0
  let more = true
  while (now !== undefined && more && !stop?.aborted) {
    const count = await store.purgeAudit(now - config.auditRetentionMs, CHUNK)
    removed += count
    more = count === CHUNK
  }
  if (removed > 0) log.info({ count: removed }, 'old audit entries removed')
}
