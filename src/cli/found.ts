import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'

/** The registration of this id. @throws Error if there is none, or if it is the id of a rotation */
export async function found(store: Store, id: string): Promise<Registration> {
  const one = await store.getRegistration(id)
  if (one === undefined) throw new Error(`there is no registration ${id} in this store`)
  if (one.rotation !== null) throw new Error(`${id} is a rotation of ${one.rotation.of}: name that`)
  return one
}
