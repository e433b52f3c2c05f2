import { storeOf } from '../registration/key-names.ts'
import { recordOfKey } from '../registration/record-of-key.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'

const ALL = 1_000_000

/**
 * Reads a registration by its id, by the id of a rotation of it, or by the id or the name of one of its keys.
 * @returns `undefined`: there is none
 */
export async function findRegistration(store: Store, text: string): Promise<Registration | undefined> {
  // Read as a name also if it is only the id in one.
  const named = `${text} `
  const one =
    (await (storeOf(named) === undefined ? store.getRegistration(text) : recordOfKey(store, named))) ??
    (await store.listRegistrations({ limit: ALL })).find(({ apiKeyId }) => apiKeyId === text)
  if (one === undefined || one.rotation === null) return one
  const root = await store.getRegistration(one.rotation.of)
  if (root === undefined) throw new Error(`the registration ${one.rotation.of} of ${one.id} is missing`)
  return root
}

/** Like {@link findRegistration}. @throws Error if there is none */
export async function loadRegistration(store: Store, text: string): Promise<Registration> {
  const one = await findRegistration(store, text)
  if (one === undefined) throw unknownRegistration(text)
  return one
}

/** The error for a registration that this store does not have. */
export function unknownRegistration(text: string): Error {
  return new Error(`there is no registration ${text} in this store`)
}

/** Checks that a registration has a key. @throws Error if it is pending or failed */
export function requireKey({ id, status }: Registration): void {
  if (status === 'pending') throw new Error(`${id} is still pending: try again in a minute`)
  if (status === 'failed') throw new Error(`${id} failed: it has no key`)
}
