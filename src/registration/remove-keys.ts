import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Failure, Held } from '../store/records.ts'
import type { RegistrationDeps } from './deps.ts'
import { byGroup, keyNamePrefix, registrationIdOf } from './key-names.ts'

export type RemoveKeysDeps = Pick<RegistrationDeps, 'store' | 'lowPriorityApiGateway' | 'clock' | 'timing'>

/**
 * Removes the keys of pending registrations, as far as there are any, then gives their uses back. Those that somebody
 * else took over are left alone; if they failed since, a key that this process made late is looked for again.
 *
 * Throws where it cannot go on; what was not reached stays pending, for recovery.
 * @param undone gets the ids of those that are, one after the other
 */
export async function undo(
  deps: RemoveKeysDeps,
  held: readonly Held[],
  failure: Failure,
  undone: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  const { lowPriorityApiGateway, clock, store, timing } = deps
  const mine = await store.startUndoing(held)
  const others = held.filter(({ id }) => !mine.has(id)).map(({ id }) => id)
  if (others.length > 0) await store.sweepAgain(others, clock() + timing.sweepAfter)

  const fail = async (these: readonly Held[]) => {
    const now = clock()
    const failed = await store.failRegistrations(these, { failure, sweepAt: now + timing.sweepAfter, now })
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
 * Deletes the keys that registrations of one group have. Tells `gone` which have none: first of all those that never
 * had one, then each as its key is deleted. They are found by name, for nobody may have learned their ids.
 */
export async function removeKeys<T extends { readonly id: string }>(
  apiGateway: ApiGateway,
  group: readonly T[],
  signal: AbortSignal,
  gone: (registrations: readonly T[]) => Promise<void>,
): Promise<void> {
  const found = await apiGateway.findKeys(keyNamePrefix(group.map(({ id }) => id)), signal)
  const keys = Map.groupBy(found, ({ name }) => registrationIdOf(name))
  const without = group.filter(({ id }) => !keys.has(id))
  if (without.length > 0) await gone(without)
  for (const one of group) {
    const own = keys.get(one.id)
    if (own === undefined) continue
    for (const { id } of own) await apiGateway.deleteKey(id, signal)
    await gone([one])
  }
}
