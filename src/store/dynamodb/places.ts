import { giveNameBack } from './claims.ts'
import { type Condition, check, update, type Write } from './expressions.ts'
import { keyOf, type StoredRegistration } from './item-codec.ts'
import { sameCurrent } from './rotations.ts'
import { refund } from './token-uses.ts'

/** The registration holds a place. Exactly once: of two writes that give it back, by whatever path, the second finds none. */
export const HOLDS_PLACE: Condition = { when: 'attribute_exists(#holdsPlace)' }
/** The attributes of a registration that gave its place back. */
export const NO_PLACE = { holdsPlace: undefined }

/** The writes by which a registration whose present key ends gives its place and its name back, beside those of its own item. */
export function releaseWrites(root: StoredRegistration): Write[] {
  return [refund(root.tokenId, 1), ...giveNameBack(root)]
}

/**
 * The writes that end an active key as expired or revoked. If it is the present key of a registration that holds a place, that is
 * given back in the same transaction. A rotation that is answered meanwhile changes the registration: nothing is written then.
 * @param root the registration whose key it is
 * @param set the changes of the key's own item
 */
export function endWrites(
  one: StoredRegistration,
  root: StoredRegistration,
  set: Readonly<Record<string, unknown>>,
  ...conditions: Condition[]
): Write[] {
  const key = keyOf(one.id)
  if (!root.holdsPlace) return [update(key, { set }, ...conditions)]
  const isPresent = (root.currentId ?? root.id) === one.id
  const unchanged = sameCurrent(root)
  if (root.id === one.id) {
    const own = isPresent ? { ...set, ...NO_PLACE } : set
    const held = isPresent ? [HOLDS_PLACE] : []
    return [
      update(key, { set: own }, ...conditions, ...held, unchanged),
      ...(isPresent ? releaseWrites(root) : []),
    ]
  }
  const own = update(key, { set }, ...conditions)
  if (!isPresent) return [own, check(keyOf(root.id), unchanged)]
  return [own, update(keyOf(root.id), { set: NO_PLACE }, HOLDS_PLACE, unchanged), ...releaseWrites(root)]
}
