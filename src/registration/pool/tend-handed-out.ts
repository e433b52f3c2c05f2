import type { ListedKey } from '../../aws/keys.ts'
import { keyName } from '../key-names.ts'
import { mustNotHaveKey } from '../lifecycle.ts'
import { recordOfKey } from '../record-of-key.ts'
import type { PoolDeps } from './pool-deps.ts'

/** The most keys that are tended in a round. */
const AT_ONCE = 50

/**
 * Creates the function that tends keys which still have the name of a pool key, but no record of one: they were handed out, and
 * the process that did so ended before it renamed them. One whose registration must not have a key is deleted. One without any
 * record is left alone: it may be in use, and the store older than it is; `firstkey reconcile` shows it.
 * @returns a function of the keys without a record, which throws ServiceError of the store and of API Gateway
 */
export function createTending({ store, lowPriorityApiGateway, log }: PoolDeps) {
  /** Those of the last round: keys that were just handed out are renamed by the process that did so. */
  let seenBefore = new Set<string>()
  const unknown = new Set<string>()

  async function tend({ id, name }: ListedKey, signal: AbortSignal): Promise<void> {
    const record = await recordOfKey(store, name)
    if (record === undefined) unknown.add(id)
    else if (mustNotHaveKey(record)) {
      await lowPriorityApiGateway.deleteKey(id, signal)
      log.info({ registration_id: record.id, api_key_id: id }, 'stray key of the pool deleted')
    } else if (record.status === 'active' && record.apiKeyId === id)
      await lowPriorityApiGateway.renameKey(
        id,
        { name: keyName(record), description: record.description },
        signal,
      )
  }

  return async (keys: readonly ListedKey[], signal: AbortSignal): Promise<void> => {
    const due = keys.filter(({ id }) => seenBefore.has(id) && !unknown.has(id)).slice(0, AT_ONCE)
    seenBefore = new Set(keys.map(({ id }) => id))
    for (const key of due) if (!signal.aborted) await tend(key, signal)
  }
}
