import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'

/** Reads a registration by its id. @throws Error if there is none, or if the id is that of a rotation */
export async function loadRegistration(store: Store, id: string): Promise<Registration> {
  const one = await store.getRegistration(id)
  if (one === undefined) throw new Error(`there is no registration ${id} in this store`)
  if (one.rotation !== null)
    throw new Error(`${id} is a rotation of ${one.rotation.of}: specify ${one.rotation.of}`)
  return one
}

/** Checks that a registration has a key. @throws Error if it is pending or failed */
export function requireKey({ id, status }: Registration): void {
  if (status === 'pending') throw new Error(`${id} is still pending: try again in a minute`)
  if (status === 'failed') throw new Error(`${id} failed: it has no key`)
}
