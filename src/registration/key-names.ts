import { randomBase62 } from '../auth/secret.ts'
import type { NewRegistration } from '../store/records.ts'

/** Characters of an id that its whole group shares, and that are its own: 59 random bits each. */
const GROUP_LENGTH = 10
const OWN_LENGTH = 10
const ID_PREFIX = 'reg_'
const ROTATION_PREFIX = 'rot_'

/**
 * The most registrations of one group. Their keys have a name prefix of their own in API Gateway, so that one page of
 * GetApiKeys or GetUsagePlanKeys (500 at most) shows them all.
 */
export const GROUP_SIZE = 500

/** New registration ids, unique, {@link GROUP_SIZE} to a group. */
export function newRegistrationIds(count: number): string[] {
  let group = ''
  return Array.from({ length: count }, (_, i) => {
    if (i % GROUP_SIZE === 0) group = `${ID_PREFIX}${randomBase62(GROUP_LENGTH)}`
    return `${group}${randomBase62(OWN_LENGTH)}`
  })
}

/** A registration id as the one of a rotation. */
export function rotationId(registrationId: string): string {
  return `${ROTATION_PREFIX}${registrationId.slice(ID_PREFIX.length)}`
}

/** What the ids of a group begin with. */
export function groupOf(registrationId: string): string {
  return registrationId.slice(0, ID_PREFIX.length + GROUP_LENGTH)
}

/**
 * The name of a registration's key in API Gateway: its id, by which it is found again, for a rotation the id of the
 * registration, and the client's name.
 */
export function keyName({ id, name, rotation }: Pick<NewRegistration, 'id' | 'name' | 'rotation'>): string {
  return rotation === null ? `${id} ${name}` : `${id} ${rotation.of} ${name}`
}

/** What the names of all keys of this service begin with. */
export const KEY_NAME_PREFIXES = [ID_PREFIX, ROTATION_PREFIX]

const KEY_NAME = new RegExp(`^(?:${KEY_NAME_PREFIXES.join('|')})[0-9A-Za-z]{${GROUP_LENGTH + OWN_LENGTH}} `)

/** Whether a key has a name that {@link keyName} makes. */
export function isKeyName(nameOfKey: string): boolean {
  return KEY_NAME.test(nameOfKey)
}

/** What the names of the keys of these registrations of one group begin with, and no key of another group does. */
export function keyNamePrefix(ids: readonly string[]): string {
  const [first = '', second] = ids
  return second === undefined ? `${first} ` : groupOf(first) // The space ends the id.
}

/** The registration that a key was made for. */
export function registrationIdOf(nameOfKey: string): string {
  return nameOfKey.slice(0, nameOfKey.indexOf(' '))
}

/** The items by the group of their registration. */
export function byGroup<T>(items: readonly T[], idOf: (item: T) => string): T[][] {
  return [...Map.groupBy(items, (item) => groupOf(idOf(item))).values()]
}
