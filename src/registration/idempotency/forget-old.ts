import type { Store } from '../../store/store.ts'
import type { Timing } from '../timing.ts'

/**
 * Forgets the idempotency keys that are a day old. In a store that was restored it forgets none until an operator has dealt
 * with that: recovery undoes what is forgotten and unanswered, and a retry may have been answered after the backup.
 * @param now the time, which is not in doubt
 * @returns `false`: it forgot none
 * @throws ServiceError of the store
 */
export async function forgetOld(
  {
    store,
    timing,
  }: { store: Pick<Store, 'findRestore' | 'forgetIdempotency'>; timing: Pick<Timing, 'idempotency'> },
  now: number,
): Promise<boolean> {
  if ((await store.findRestore()) !== null) return false
  await store.forgetIdempotency(now - timing.idempotency)
  return true
}
