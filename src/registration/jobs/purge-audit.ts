import type { Config } from '../../config.ts'
import type { RegistrationDeps } from '../deps.ts'

/** How many entries go in one transaction: others want to write, too. */
const AT_ONCE = 500

export type PurgeDeps = Pick<RegistrationDeps, 'store' | 'clock' | 'log'> & {
  readonly config: Pick<Config, 'auditRetentionMs'>
}

/**
 * One round: removes audit entries that are older than the configured time, but for those of registrations whose key is
 * still there.
 * @param stop ends it after what it is at
 */
export async function purgeAudit(
  { store, clock, log, config }: PurgeDeps,
  stop?: AbortSignal,
): Promise<void> {
  let removed = 0
  let more = true
  while (more && !stop?.aborted) {
    const count = await store.purgeAudit(clock() - config.auditRetentionMs, AT_ONCE)
    removed += count
    more = count === AT_ONCE
  }
  if (removed > 0) log.info({ count: removed }, 'old audit entries removed')
}
