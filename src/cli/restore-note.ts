import type { RestoreStore } from '../store/restores.ts'
import { showTime } from './format.ts'
import { note } from './output.ts'

/** Says on stderr that the store was restored and what is to be done, until that is done. @throws ServiceError */
export async function noteRestore(store: RestoreStore): Promise<void> {
  const asOf = await store.findRestore()
  if (asOf === null) return
  note(
    `This store was restored from a backup of ${showTime(asOf)}. Run: firstkey reconcile, then: firstkey registrations recover --yes`,
  )
}
