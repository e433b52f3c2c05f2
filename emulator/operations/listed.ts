import type { Creation } from '../account.ts'
import { type Fault, spoils } from '../faults.ts'

/** Returns what a list shows: without the items that it shows late. */
export function listed<T>(
  items: readonly T[],
  fault: Fault | undefined,
  creationOf: (item: T) => Creation,
): T[] {
  const youngest = Date.now() - (fault?.ms ?? 0)
  return items.filter((item) => {
    const creation = creationOf(item)
    return !(spoils(fault, 'late', creation) && creation.createdAt > youngest)
  })
}
