import type { ApiKey } from '../account.ts'
import { type Fault, spoils } from '../faults.ts'

/** Returns the keys that a list shows: without those that it shows late. */
export function listed(keys: readonly ApiKey[], fault: Fault | undefined): ApiKey[] {
  const youngest = Date.now() - (fault?.ms ?? 0)
  return keys.filter((key) => !(spoils(fault, 'late', key) && key.createdAt > youngest))
}
