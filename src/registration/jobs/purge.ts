import type { Config } from '../../config.ts'
import { KEPT_MS } from '../../store/federation.ts'
import type { RegistrationDeps } from '../deps.ts'

/** The maximum number of records that are removed at once: other writes wait meanwhile. */
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
export async function purgeAudit(deps: PurgeDeps, stop?: AbortSignal): Promise<void> {
  const { store, config, log } = deps
  const count = await inChunks(deps, stop, (now) => store.purgeAudit(now - config.auditRetentionMs, CHUNK))
  if (count > 0) log.info({ count }, 'old audit entries removed')
}

/**
 * Removes proofs and access tokens that expired {@link KEPT_MS} ago. Removes nothing while the clock is in doubt: a proof that is forgotten
 * too early could be used twice.
 * @param stop ends the purge after the present chunk
 * @throws ServiceError of the store
 */
export async function purgeProofs(deps: Omit<PurgeDeps, 'config'>, stop?: AbortSignal): Promise<void> {
  await inChunks(deps, stop, (now) => deps.store.purgeProofs(now - KEPT_MS, CHUNK))
}

/** @returns the number of removed records */
async function inChunks(
  { clockCheck }: Pick<PurgeDeps, 'clockCheck'>,
  stop: AbortSignal | undefined,
  remove: (now: number) => Promise<number>,
): Promise<number> {
  const now = await clockCheck.certainNow()
  let removed = 0
  let more = true
  while (now !== undefined && more && !stop?.aborted) {
    const count = await remove(now)
    removed += count
    more = count === CHUNK
  }
  return removed
}
