import { abortAfter } from '../../abort-after.ts'
import type { ListedKey } from '../../aws/keys.ts'
import { mustNotHaveKey } from '../lifecycle.ts'
import { recordOfKey } from '../record-of-key.ts'
import type { PoolDeps } from './pool-deps.ts'
import { renameHandedOut } from './rename-keys.ts'

/** The most keys that are tended in a round: more would delay the next. */
const AT_ONCE = 10

/**
 * Creates the function that tends keys which still have the name of a pool key, but no record of one: they were handed out, and
 * the process that did so ended before it renamed them. One whose registration must not have a key is deleted. One without any
 * record is left alone: it may be in use, and the store older than it is; `firstkey reconcile` shows it.
 * @returns a function of the keys without a record. It never throws: a key that fails is tended again later
 */
export function createTending({ store, lowPriorityApiGateway, timing, log }: PoolDeps) {
  /** By the key's id, the time from which it is tended: keys that were just handed out are renamed by the process that did so. */
  let dueAt = new Map<string, number>()
  let unknown = new Set<string>()

  async function tend({ id, name }: ListedKey, signal: AbortSignal): Promise<void> {
    const record = await recordOfKey(store, name)
    if (record === undefined) unknown.add(id)
    else if (mustNotHaveKey(record)) {
      await lowPriorityApiGateway.deleteKey(id, signal)
      log.info({ registration_id: record.id, api_key_id: id }, 'stray key of the pool deleted')
    } else if (record.status === 'active' && record.apiKeyId === id)
      await renameHandedOut({ lowPriorityApiGateway }, record, id, signal)
  }

  return async (keys: readonly ListedKey[], stop: AbortSignal): Promise<void> => {
    const now = performance.now()
    dueAt = new Map(keys.map(({ id }) => [id, dueAt.get(id) ?? now + timing.sweepAfter]))
    unknown = new Set([...unknown].filter((id) => dueAt.has(id)))
    const due = keys.filter(({ id }) => (dueAt.get(id) ?? now) <= now && !unknown.has(id)).slice(0, AT_ONCE)
    const limit = abortAfter(timing.undo)
    const signal = AbortSignal.any([stop, limit.signal])
    for (const key of due) {
      if (signal.aborted) break
      // Whatever comes of it, the others are due before it is again.
      dueAt.set(key.id, now + timing.sweepAfter)
      try {
        await tend(key, signal)
      } catch (err) {
        if (!stop.aborted)
          log.info({ api_key_id: key.id, err }, 'could not tend a key of the pool; a later round will')
      }
    }
    limit.cancel()
  }
}
