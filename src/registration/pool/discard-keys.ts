import pLimit from 'p-limit'
import type { PoolKey } from '../../store/pool.ts'
import {
  byGroup,
  keyNamePrefix,
  poolNamePrefix,
  registrationIdOf,
  registrationIdOfPoolKey,
  rotationIdOfPoolKey,
} from '../key-names.ts'
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
 * are found by name, once no key can be made any more. A key that has the name of a registration was handed out, and the store is
 * an old copy that does not know it: only its record is removed. A deletion that fails is logged, and left to a later round.
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
  /** Those that were handed out have other names, unless the list is late, or they are gone. */
  const pooled = new Set<string>()
  const isHandedOut = async (id: string, apiKeyId: string) => {
    if (pooled.has(apiKeyId)) return false
    for (const taker of [registrationIdOfPoolKey(id), rotationIdOfPoolKey(id)]) {
      const found = await lowPriorityApiGateway.findKeys(keyNamePrefix([taker]), signal)
      if (found.some((key) => key.id === apiKeyId)) return true
    }
    return false
  }
  const deleteAll = async (id: string, apiKeyIds: readonly string[]) => {
    if (signal.aborted) return
    try {
      for (const apiKeyId of apiKeyIds)
        if (!(await isHandedOut(id, apiKeyId))) await lowPriorityApiGateway.deleteKey(apiKeyId, signal)
      gone.push(id)
    } catch (err) {
      if (!signal.aborted)
        log.warn({ pool_key_id: id, err }, 'could not delete a key of the pool; will retry')
    }
  }
  try {
    if (named.length > 0)
      for (const key of await lowPriorityApiGateway.findKeys(poolNamePrefix(store.id), signal))
        pooled.add(key.id)
    await limit.map(named, ({ id, apiKeyId }) => deleteAll(id, apiKeyId === null ? [] : [apiKeyId]))
    const made = unnamed.filter((one) => madeBy(one, deps) <= clock())
    for (const group of byGroup(made, ({ id }) => id)) {
      const found = await lowPriorityApiGateway.findKeys(keyNamePrefix(group.map(({ id }) => id)), signal)
      for (const key of found) pooled.add(key.id)
      const keys = Map.groupBy(found, ({ name }) => registrationIdOf(name))
      await limit.map(group, ({ id }) =>
        deleteAll(
          id,
          (keys.get(id) ?? []).map((key) => key.id),
        ),
      )
    }
  } finally {
    if (gone.length > 0) await store.forgetPoolKeys(gone, owner)
  }
  return gone.length
}
