import { randomBase62 } from '../auth/random.ts'
import type { NewRegistration } from '../store/records.ts'
import { STORE_ID_LENGTH } from '../store/store-id.ts'

/** The number of random characters in an id that its group shares, and of those that are its own: 59 bits each. */
const GROUP_LENGTH = 10
const OWN_LENGTH = 10
const ID_PREFIX = 'reg_'
const ROTATION_PREFIX = 'rot_'
/** The prefix of the ids and names of the keys of the pool. */
export const POOL_PREFIX = 'pool_'

/**
 * The maximum number of registrations in a group. The names of their keys share a prefix of their own, so that one page
 * of GetApiKeys or GetUsagePlanKeys (at most 500 keys) lists all of them.
 */
export const GROUP_SIZE = 500

/**
 * Creates unique registration ids, in groups of {@link GROUP_SIZE}: `reg_<id of the store>_<group><own>`. The ids of versions
 * before store ids have no part for the store.
 */
export function newRegistrationIds(storeId: string, count: number): string[] {
  return [...endlessRegistrationIds(storeId).take(count)]
}

/** Creates registration ids like {@link newRegistrationIds}, one after the other: those of one batch share its groups. */
export function endlessRegistrationIds(storeId: string): IteratorObject<string, never> {
  return newIds(ID_PREFIX, storeId)
}

/**
 * Creates unique ids of pool keys, in groups of {@link GROUP_SIZE}: `pool_<id of the store>_<group><own>`. The registration or
 * rotation that is given such a key has the same id with its own prefix.
 */
export function newPoolKeyIds(storeId: string, count: number): string[] {
  return [...newIds(POOL_PREFIX, storeId).take(count)]
}

function* newIds(prefix: string, storeId: string): Generator<string, never> {
  for (;;) {
    const group = `${prefix}${storeId}_${randomBase62(GROUP_LENGTH)}`
    for (let i = 0; i < GROUP_SIZE; i++) yield `${group}${randomBase62(OWN_LENGTH)}`
  }
}

/** Returns the id of the registration that is given this pool key. */
export function registrationIdOfPoolKey(poolKeyId: string): string {
  return `${ID_PREFIX}${poolKeyId.slice(POOL_PREFIX.length)}`
}

/** Returns the id of the rotation that is given this pool key. */
export function rotationIdOfPoolKey(poolKeyId: string): string {
  return rotationId(registrationIdOfPoolKey(poolKeyId))
}

/** Returns the id of the pool key that a registration or rotation was given, if it was given one. */
export function poolKeyIdOf(registrationId: string): string {
  return `${POOL_PREFIX}${registrationId.slice(ID_PREFIX.length)}`
}

/** Returns the name of a pool key in API Gateway. */
export function poolKeyName(poolKeyId: string, plan: string): string {
  return `${poolKeyId} ${plan}`
}

/** Reports whether a key has the name of a pool key: it may have been handed out, and not be renamed yet. */
export function isPoolKey(nameOfKey: string): boolean {
  return nameOfKey.startsWith(POOL_PREFIX)
}

/** Returns the prefix of the names of all pool keys of a store. No other key has it, before it is handed out and renamed. */
export function poolNamePrefix(storeId: string): string {
  return `${POOL_PREFIX}${storeId}_`
}

/** Turns a new registration id into the id of a rotation. */
export function rotationId(registrationId: string): string {
  return `${ROTATION_PREFIX}${registrationId.slice(ID_PREFIX.length)}`
}

/** Returns the prefix that the ids of a registration's group share. */
export function groupOf(registrationId: string): string {
  return registrationId.slice(0, -OWN_LENGTH)
}

/**
 * Returns the name of a key in API Gateway: the id of the registration or rotation, by which the key is found; for a
 * rotation also the id of its registration; and the client's name.
 */
export function keyName({ id, name, rotation }: Pick<NewRegistration, 'id' | 'name' | 'rotation'>): string {
  return rotation === null ? `${id} ${name}` : `${id} ${rotation.of} ${name}`
}

/** The prefixes of the names of all firstkey keys, whichever store they belong to. */
export const KEY_NAME_PREFIXES = [ID_PREFIX, ROTATION_PREFIX, POOL_PREFIX]

const KEY_NAME = new RegExp(
  `^(?:${KEY_NAME_PREFIXES.join('|')})(?:([0-9a-f]{${STORE_ID_LENGTH}})_)?[0-9A-Za-z]{${GROUP_LENGTH + OWN_LENGTH}} `,
)

/**
 * Returns the store that a key's name says it belongs to; `null`: a version before store ids made it; `undefined`: the name
 * has neither the form of {@link keyName} nor that of {@link poolKeyName}.
 */
export function storeOf(nameOfKey: string): string | null | undefined {
  const match = nameOfKey.match(KEY_NAME)
  return match === null ? undefined : (match[1] ?? null)
}

/**
 * Returns a prefix of the names of these registrations' keys. No key of another group has it.
 * @param ids ids of one group
 */
export function keyNamePrefix(ids: readonly string[]): string {
  const [first = '', second] = ids
  return second === undefined ? `${first} ` : groupOf(first) // The space marks the end of the id.
}

/** Returns the id in a key's name: that of the registration or rotation that it was minted for, or of the pool key. @param nameOfKey see {@link keyName} */
export function registrationIdOf(nameOfKey: string): string {
  return nameOfKey.slice(0, nameOfKey.indexOf(' '))
}

/**
 * Returns the ids of the records that a key may belong to: of a pool key, those of the registration and of the rotation that
 * may have been given it, of which there is at most one.
 * @param nameOfKey see {@link keyName} and {@link poolKeyName}
 */
export function idsOfKey(nameOfKey: string): string[] {
  const id = registrationIdOf(nameOfKey)
  return isPoolKey(id) ? [registrationIdOfPoolKey(id), rotationIdOfPoolKey(id)] : [id]
}

/**
 * Returns the client's name of a key's name; of a pool key, whose client is not known by its name, a name that says so.
 * @param nameOfKey see {@link keyName} and {@link poolKeyName}
 */
export function clientNameOf(nameOfKey: string): string {
  const rest = nameOfKey.slice(nameOfKey.indexOf(' ') + 1)
  if (isPoolKey(nameOfKey)) return `pool key (${rest})`
  // The id of a registration has no space, and a client's name may begin with anything: only a rotation names two ids.
  return nameOfKey.startsWith(ROTATION_PREFIX) ? rest.slice(rest.indexOf(' ') + 1) : rest
}

/** Splits items by the group of their registration. */
export function byGroup<T>(items: readonly T[], idOf: (item: T) => string): T[][] {
  return [...Map.groupBy(items, (item) => groupOf(idOf(item))).values()]
}
