import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Failure, Held, Registration } from '../store/records.ts'
import type { RegistrationDeps } from './deps.ts'
import { byGroup, idsOfKey, keyNamePrefix, poolKeyIdOf } from './key-names.ts'

export type RemoveKeysDeps = Pick<RegistrationDeps, 'store' | 'lowPriorityApiGateway' | 'clock' | 'timing'>

/** A registration or rotation whose key is to be removed, and the key's id; `null`: it may never have been received. */
export type KeyToRemove = Pick<Registration, 'id' | 'apiKeyId'>

/**
 * Undoes pending registrations: deletes their keys, then refunds their uses. Registrations that another worker took over are
 * left alone; if one of those failed meanwhile, a sweep looks for a key that this process created late.
 * @param undone receives the ids of those that are undone, one after the other
 * @throws ServiceError if it cannot continue; the rest stays pending, for recovery
 */
export async function undoRegistrations(
  deps: RemoveKeysDeps,
  held: readonly (Held & KeyToRemove)[],
  failure: Failure,
  undone: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  const { lowPriorityApiGateway, clock, store, timing } = deps
  const mine = await store.startUndoing(held)
  const others = held.filter(({ id }) => !mine.has(id)).map(({ id }) => id)
  if (others.length > 0) await store.sweepAgain(others, clock() + timing.sweepAfter)

  const fail = async (some: readonly Held[]) => {
    const now = clock()
    const failed = await store.failRegistrations(some, { failure, sweepAt: now + timing.sweepAfter, now })
    for (const id of failed) undone.add(id)
  }
  for (const group of byGroup(
    held.filter(({ id }) => mine.has(id)),
    ({ id }) => id,
  )) {
    await removeKeys(lowPriorityApiGateway, group, signal, fail)
  }
}

/**
 * Undoes registrations whose answer reached no caller: takes the answers back, deletes the keys, then refunds the uses. Leaves
 * alone what was delivered, rotated or revoked, what a retry can ask for, and rotations.
 * @param answeredBy leaves alone what was answered later, too
 * @param to.undone receives the ids of those that are undone, one after the other
 * @throws ServiceError if it cannot continue; the rest is answered, or pending for recovery
 */
export async function undoAnswers(
  deps: RemoveKeysDeps & Pick<RegistrationDeps, 'leases'>,
  answered: readonly KeyToRemove[],
  answeredBy: number,
  { failure, undone, signal }: { failure: Failure; undone: Set<string>; signal: AbortSignal },
): Promise<void> {
  if (answered.length === 0) return
  const lease = deps.leases.hold()
  try {
    const ids = answered.map(({ id }) => id)
    const withdrawn = await deps.store.withdrawAnswers(ids, answeredBy, lease)
    const held = answered.flatMap(({ id, apiKeyId }) =>
      withdrawn.has(id) ? { id, apiKeyId, owner: lease.owner } : [],
    )
    await undoRegistrations(deps, held, failure, undone, signal)
  } finally {
    deps.leases.drop(lease.owner)
  }
}

/**
 * Deletes the keys of registrations of one group: those whose ids are known by their ids, because their names may still be those
 * of pool keys; the others by their names, because their ids may never have been received.
 * @param removed is called for registrations without a key: first for those that never had one, then for each after its key
 *   is deleted
 * @throws ServiceError if a key cannot be looked up or deleted
 */
async function removeKeys<T extends KeyToRemove>(
  apiGateway: ApiGateway,
  group: readonly T[],
  signal: AbortSignal,
  removed: (registrations: readonly T[]) => Promise<void>,
): Promise<void> {
  const unknown = group.filter(({ apiKeyId }) => apiKeyId === null)
  if (unknown.length > 0) await removeNamedKeys(apiGateway, unknown, signal, removed)
  for (const one of group) {
    if (one.apiKeyId === null) continue
    await apiGateway.deleteKey(one.apiKeyId, signal)
    await removed([one])
  }
}

/**
 * Deletes the keys that have the names of registrations of one group, whatever their ids.
 * @param removed as for {@link removeKeys}
 * @throws ServiceError if a key cannot be looked up or deleted
 */
export async function removeNamedKeys<T extends KeyToRemove>(
  apiGateway: ApiGateway,
  group: readonly T[],
  signal: AbortSignal,
  removed: (registrations: readonly T[]) => Promise<void>,
): Promise<void> {
  const ids = group.map(({ id }) => id)
  const found = await apiGateway.findKeys(keyNamePrefix(ids), signal)
  // The key of one that was answered may have come from the pool, and may not have been renamed.
  const answered = group.flatMap(({ id, apiKeyId }) => (apiKeyId === null ? [] : poolKeyIdOf(id)))
  if (answered.length > 0) found.push(...(await apiGateway.findKeys(keyNamePrefix(answered), signal)))
  const keys = Map.groupBy(
    found.flatMap((key) => idsOfKey(key.name).map((id) => ({ id, keyId: key.id }))),
    ({ id }) => id,
  )
  const without = group.filter(({ id }) => !keys.has(id))
  if (without.length > 0) await removed(without)
  for (const one of group) {
    const own = keys.get(one.id)
    if (own === undefined) continue
    for (const { keyId } of own) await apiGateway.deleteKey(keyId, signal)
    await removed([one])
  }
}
