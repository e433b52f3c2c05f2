import pLimit from 'p-limit'
import type { PoolKey } from '../../store/pool.ts'
import { byGroup, keyNamePrefix, poolNamePrefix, registrationIdOf } from '../key-names.ts'
import { hasCome } from '../lifecycle.ts'
import type { PoolDeps } from './pool-deps.ts'

export type DiscardDeps = Pick<PoolDeps, 'store' | 'lowPriorityApiGateway' | 'clock' | 'timing' | 'log'>

/** The maximum number of simultaneous deletions: one that hangs must not delay the others. */
const MAX_RUNNING = 4

/** Returns the time from which a call that made the key can have no effect any more, whichever process made it. */
export function madeBy(
  { createdAt }: Pick<PoolKey, 'createdAt'>,
  { timing }: Pick<PoolDeps, 'timing'>,
): number {
  return createdAt + timing.undo + timing.sweepAfter
}

/**
 * Deletes the keys of records that are `discarding` and held by `owner`, then the records. Those whose ids were never received
 * are found by name; their records remain until no key can be made any more. A key that has another name than that of its record
 * is not the pool's: it was handed out, and the store is an old copy that does not know it, or an operator renamed it for a use
 * of their own. Only its record is removed. A deletion that fails is logged, and left to a later round.
 * @returns the number of records that are removed
 * @throws ServiceError of the store, and of API Gateway
 */
export async function deleteDiscarded(
  deps: DiscardDeps,
  records: readonly PoolKey[],
  owner: string,
  signal: AbortSignal,
): Promise<number> {
  const { store, lowPriorityApiGateway, clock, log } = deps
  const { named = [], unnamed = [] } = Object.groupBy(records, ({ apiKeyId }) =>
    apiKeyId === null ? 'unnamed' : 'named',
  )
  const limit = pLimit(MAX_RUNNING)
  const gone: string[] = []
  /** The keys that a list shows with the name of a pool key. A late list lacks some. */
  const pooled = new Set<string>()
  const isPooled = async (id: string, apiKeyId: string) => {
    if (pooled.has(apiKeyId)) return true
    const name = await lowPriorityApiGateway.readKeyName(apiKeyId, signal)
    if (name !== null && !isNameOf(name, id))
      log.info({ pool_key_id: id, api_key_id: apiKeyId }, "a key is not the pool's any more: it is renamed")
    return name !== null && isNameOf(name, id)
  }
  const deleteAll = async (id: string, apiKeyIds: readonly string[], isMade: boolean) => {
    if (signal.aborted) return
    try {
      for (const apiKeyId of apiKeyIds)
        if (await isPooled(id, apiKeyId)) await lowPriorityApiGateway.deleteKey(apiKeyId, signal)
      if (isMade) gone.push(id)
    } catch (err) {
      if (!signal.aborted)
        log.warn({ pool_key_id: id, err }, 'could not delete a key of the pool; will retry')
    }
  }
  try {
    if (named.length > 0)
      for (const key of await lowPriorityApiGateway.findKeys(poolNamePrefix(store.id), signal))
        pooled.add(key.id)
    await limit.map(named, ({ id, apiKeyId }) => deleteAll(id, apiKeyId === null ? [] : [apiKeyId], true))
    for (const group of byGroup(unnamed, ({ id }) => id)) {
      // Decided before the look: a key that is made after it is looked for once more.
      const made = new Set(group.filter((one) => hasCome(madeBy(one, deps), clock())).map(({ id }) => id))
      const found = await lowPriorityApiGateway.findKeys(keyNamePrefix(group.map(({ id }) => id)), signal)
      for (const key of found) pooled.add(key.id)
      const keys = Map.groupBy(found, ({ name }) => registrationIdOf(name))
      await limit.map(group, ({ id }) =>
        deleteAll(
          id,
          (keys.get(id) ?? []).map((key) => key.id),
          made.has(id),
        ),
      )
    }
  } finally {
    if (gone.length > 0) await store.forgetPoolKeys(gone, owner)
  }
  return gone.length
}

const isNameOf = (nameOfKey: string, poolKeyId: string) => nameOfKey.startsWith(keyNamePrefix([poolKeyId]))
