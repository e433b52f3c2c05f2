import { poolKeyName } from '../key-names.ts'
import type { CircuitBreaker } from '../mint/circuit-breaker.ts'
import { recordOfKey } from '../record-of-key.ts'
import { judge, type Look } from './look-at-keys.ts'
import type { PoolDeps } from './pool-deps.ts'
import type { WarmKeys } from './warm-keys.ts'

/** A key that this process makes. Its value was chosen here, so that a repeated call makes no second key. */
export interface KeyInMaking {
  readonly id: string
  readonly plan: string
  readonly usagePlanId: string
  readonly value: string
  readonly createdAt: number
  /** The number of keys that are made by the same call. */
  readonly of: number
  /** The time at which API Gateway reported success; `null`: it has not. */
  readonly importedAt: number | null
}

export interface VerifyDeps
  extends Pick<PoolDeps, 'store' | 'lowPriorityApiGateway' | 'clock' | 'timing' | 'log'> {
  readonly owner: string
  readonly warm: WarmKeys
  readonly making: Map<string, KeyInMaking>
  readonly importBreaker: CircuitBreaker
}

/**
 * Verifies the keys that imports made, as far as the look covers them: those that the look shows enabled and on their plans begin to warm. Those that it shows
 * disabled, or still lacks when it cannot be late any more, are discarded, and count against imports.
 * @returns the number of those that may only be late
 * @throws ServiceError of the store, and of API Gateway
 */
export async function verifyMade(deps: VerifyDeps, look: Look, signal: AbortSignal): Promise<number> {
  const { clock, timing, warm, making, importBreaker, log } = deps
  const now = clock()
  const made = [...making.values()].filter((key) => key.importedAt !== null && look.covers(key.id))
  const {
    works = [],
    faulty = [],
    late = [],
  } = Object.groupBy(made, (key) =>
    judge(look, { ...key, apiKeyId: null }, (key.importedAt ?? now) + timing.sweepAfter, now),
  )
  const found = works.flatMap((key) => {
    const apiKeyId = look.keys.get(key.id)?.id
    const { of: _of, importedAt: _at, ...own } = key
    return apiKeyId === undefined ? [] : [{ ...own, apiKeyId, since: now }]
  })
  if (found.length > 0) {
    const moved = await warm.begin(found)
    for (const { id } of found) making.delete(id)
    await deleteUnrecorded(
      deps,
      found.filter(({ id }) => !moved.has(id)),
      signal,
    )
    log.info({ plan: found[0]?.plan, count: moved.size }, 'keys of the pool made')
    if (faulty.length + late.length === 0) importBreaker.worked()
  }
  if (faulty.length > 0) await discardFaulty(deps, faulty, look, signal)
  return late.length
}

async function discardFaulty(
  deps: VerifyDeps,
  faulty: readonly KeyInMaking[],
  look: Look,
  signal: AbortSignal,
): Promise<void> {
  const { store, lowPriorityApiGateway, owner, clock, making, importBreaker } = deps
  const ids = faulty.map(({ id }) => id)
  for (const id of ids) making.delete(id)
  // A plan that was closed meanwhile says nothing about imports.
  const failed = faulty.filter(({ usagePlanId }) => !look.closed.has(usagePlanId))
  const reason = `${failed.length} imported keys were missing, not enabled or not on their plan`
  if (failed.length > 0)
    importBreaker.failed(
      new Error(reason),
      failed.reduce((weight, { of }) => weight + 1 / of, 0),
    )
  // Others may have taken them over, if this process stood still since the look: it deletes only what it discarded.
  const moved = await store.discardPoolKeys(ids, owner, clock())
  const left = faulty.flatMap((key) => {
    const apiKeyId = look.keys.get(key.id)?.id
    return moved.has(key.id) || apiKeyId === undefined ? [] : [{ ...key, apiKeyId }]
  })
  await deleteUnrecorded(deps, left, signal)
  for (const id of moved) {
    const apiKeyId = look.keys.get(id)?.id
    // A key that no list shows may exist all the same: a later round looks for it once more.
    if (apiKeyId === undefined) continue
    await lowPriorityApiGateway.deleteKey(apiKeyId, signal)
    await store.forgetPoolKeys([id], owner)
  }
}

/**
 * Deletes keys that this process made, and whose records were gone before: it stood still, and another process found that they
 * can exist no more. A key with a record is left to the one that holds it, or that it was handed out to.
 * @throws ServiceError of the store, and of API Gateway
 */
export async function deleteUnrecorded(
  { store, lowPriorityApiGateway, log }: Pick<VerifyDeps, 'store' | 'lowPriorityApiGateway' | 'log'>,
  keys: readonly (Pick<KeyInMaking, 'id' | 'plan'> & { readonly apiKeyId: string })[],
  signal: AbortSignal,
): Promise<void> {
  if (keys.length === 0) return
  // Read before the registrations: one that is handed out in between has a record of either.
  const recorded = new Set((await store.listPoolKeys()).map(({ id }) => id))
  for (const { id, plan, apiKeyId } of keys) {
    if (recorded.has(id) || (await recordOfKey(store, poolKeyName(id, plan))) !== undefined) continue
    await lowPriorityApiGateway.deleteKey(apiKeyId, signal)
    log.info({ pool_key_id: id, api_key_id: apiKeyId }, 'stray key of the pool deleted')
  }
}
