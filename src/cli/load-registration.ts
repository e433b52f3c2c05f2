import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'

/** The registration of this id. @throws Error if there is none, or if it is the id of a rotation */
export async function loadRegistration(store: Store, id: string): Promise<Registration> {
  const one = await store.getRegistration(id)
  if (one === undefined) throw new Error(`there is no registration ${id} in this store`)
  if (one.rotation !== null) throw new Error(`${id} is a rotation of ${one.rotation.of}: name that`)
  return one
}

/** @throws Error if the registration has no key yet, or never got one */
export function requireKey({ id, status }: Registration): void {
  if (status === 'pending') throw new Error(`${id} is still being made: try again in a minute`)
  if (status === 'failed') throw new Error(`${id} failed: it has no key`)
}
