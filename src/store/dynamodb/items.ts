import { z } from 'zod'
import type { BootstrapToken, NewRegistration, Registration } from '../records.ts'
import type { Item, Key } from './writes.ts'

const SINGLE = '-'

/** The key of an item that is alone in its partition. */
export const keyOf = (pk: string): Key => ({ pk, sk: SINGLE })
export const secretKey = (secretHash: Uint8Array): Key => keyOf(`secret#${hex(secretHash)}`)
export const idempotencyKey = (tokenId: string, keyHash: Uint8Array): Key =>
  keyOf(`idem#${tokenId}#${hex(keyHash)}`)
export const leaseKey = (owner: string): Key => keyOf(`lease#${owner}`)

/** How many partitions of an index share what many would write at once: DynamoDB takes 1,000 writes a second in each. */
const SHARDS = 4
export const shards: readonly number[] = Array.from({ length: SHARDS }, (_, i) => i)
/** Ids end with random characters. */
export const shardOf = (id: string): number => id.charCodeAt(id.length - 1) % SHARDS

/** Times as text, in their order. */
export const sortable = (ms: number): string => String(ms).padStart(15, '0')
/** By this registrations, rotations and tokens are listed: by time, those of the same moment by their ids. */
export const listedAt = (id: string, createdAt: number): string => `${sortable(createdAt)}#${id}`

/** The attributes by which recovery finds a registration, from `at` on. */
export const openAt = (id: string, at: number) => ({ work: `open#${shardOf(id)}`, workAt: at })
/** The attributes by which nobody looks for it. */
export const NOT_OPEN = { work: undefined, workAt: undefined }
/** The attributes by which the end of a key is found; none for a key that stays. */
export const endingAt = (id: string, at: number | null | undefined) =>
  at === null || at === undefined
    ? { ends: undefined, endsAt: undefined }
    : { ends: `ends#${shardOf(id)}`, endsAt: at }
/** The same for a key that was taken back. */
export const revokedAt = (id: string, at: number) => ({ ends: `revoked#${shardOf(id)}`, endsAt: at })
/** What makes a registration remember its request; gone after a day. */
export const FORGOTTEN = { keyHash: undefined, requestHash: undefined, sealed: undefined }

export const managerOf = (managementHash: Uint8Array): string => hex(managementHash)

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** Attributes that are `null` in records are left out of items. */
function withoutNull(record: Item): Item {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null))
}

const bytes = z.instanceof(Uint8Array)
const text = z.string()
const time = z.number()
/** An attribute that is not there is `null` in a record. */
const orNull = <T extends z.ZodType>(type: T) => type.optional().transform((value) => value ?? null)

const tokenItem = z.object({
  id: text,
  secretHash: bytes,
  label: text,
  plans: z.array(text),
  maxUses: orNull(z.number()),
  uses: z.number(),
  expiresAt: orNull(time),
  keyTtlMs: orNull(time),
  namePrefix: text,
  ratePerMinute: orNull(z.number()),
  createdAt: time,
  revokedAt: orNull(time),
})

/** Uses of a token without a limit: more than there can ever be. */
const ANY_NUMBER = Number.MAX_SAFE_INTEGER

/** A token as an item. `usesLeft` is what a spend looks at: a condition cannot calculate. */
export function toTokenItem(token: BootstrapToken): Item & Key {
  const { id, maxUses, uses, createdAt } = token
  return {
    ...withoutNull({ ...token }),
    ...keyOf(id),
    usesLeft: (maxUses ?? ANY_NUMBER) - uses,
    listed: 'tokens',
    listedAt: listedAt(id, createdAt),
  }
}

/** An item as a token, checked. `undefined` stays `undefined`: no such item. */
export function readToken(item: Item | undefined): BootstrapToken | undefined {
  return item === undefined ? undefined : tokenItem.parse(item)
}

const registrationItem = z
  .object({
    id: text,
    tokenId: text,
    status: z.enum(['pending', 'active', 'failed', 'ending', 'ended']),
    name: text,
    description: text,
    plan: text,
    usagePlanId: text,
    managementHash: bytes,
    apiKeyId: orNull(text),
    createdAt: time,
    endedAt: orNull(time),
    expiresAt: orNull(time),
    failure: orNull(text),
    keyHash: bytes.optional(),
    requestHash: bytes.optional(),
    sealed: bytes.optional(),
    answeredAt: orNull(time),
    leaseOwner: text.optional(),
    sweepAt: orNull(time),
    undoing: z.boolean().default(false),
    endsAt: orNull(time),
    endReason: orNull(z.enum(['expired', 'revoked', 'rotated'])),
    rotationOf: text.optional(),
    overlapMs: z.number().default(0),
    renewsManagement: z.boolean().default(false),
    replacedId: orNull(text),
    currentId: orNull(text),
    previousManagementHash: orNull(bytes),
    pendingRotation: text.optional(),
    unansweredRotation: text.optional(),
  })
  .transform(
    ({
      keyHash,
      requestHash,
      sealed,
      rotationOf,
      overlapMs,
      renewsManagement,
      ...item
    }): StoredRegistration => ({
      ...item,
      idempotency: keyHash && requestHash && sealed ? { keyHash, requestHash, sealed } : null,
      rotation: rotationOf === undefined ? null : { of: rotationOf, overlapMs, renewsManagement },
    }),
  )

/** A registration, with what only this store keeps of it. */
export interface StoredRegistration extends Registration {
  /** Who works on it; until when is in the item of the lease. */
  readonly leaseOwner?: string | undefined
  /** The rotation of it that is `pending`: one at a time. */
  readonly pendingRotation?: string | undefined
  /** The rotation of it that waits for its retry. */
  readonly unansweredRotation?: string | undefined
}

/** A registration as every store has it. */
export function withoutMarks(stored: StoredRegistration): Registration {
  const {
    leaseOwner: _owner,
    pendingRotation: _pending,
    unansweredRotation: _unanswered,
    ...registration
  } = stored
  return registration
}

/** A registration or rotation that begins, as an item. */
export function toRegistrationItem(registration: NewRegistration, leaseOwner: string): Item & Key {
  const { idempotency, rotation, ...fields } = registration
  const { id, createdAt, expiresAt, managementHash } = fields
  const own = {
    ...withoutNull(fields),
    ...keyOf(id),
    status: 'pending',
    leaseOwner,
    ...idempotency,
    ...openAt(id, createdAt),
    ...endingAt(id, expiresAt),
    listedAt: listedAt(id, createdAt),
  }
  if (rotation === null) return { ...own, listed: `reg#${shardOf(id)}`, manager: managerOf(managementHash) }
  const { of: rotationOf, overlapMs, renewsManagement } = rotation
  return { ...own, listed: `rot#${shardOf(id)}`, rotationOf, overlapMs, renewsManagement }
}

/** A registration or rotation of another store, as an item: all of it. */
export function toRestoredItem(record: Registration, marks: Item): Item & Key {
  const begun = toRegistrationItem(record, '')
  const { idempotency: _i, rotation: _r, undoing, ...fields } = record
  const { status, id, endsAt, endReason, createdAt, sweepAt, answeredAt, idempotency } = record
  const isOpen = status === 'pending' || (status === 'active' && answeredAt === null && idempotency === null)
  const looked = sweepAt === null ? (isOpen ? openAt(id, createdAt) : NOT_OPEN) : openAt(id, sweepAt)
  const ends = status === 'active' || status === 'ending' || status === 'pending'
  const item = {
    ...begun,
    ...withoutNull(fields),
    leaseOwner: undefined,
    ...(undoing ? { undoing } : {}),
    ...looked,
    ...(ends ? endingAt(id, endsAt) : { ends: undefined, endsAt: endsAt ?? undefined }),
    ...(status === 'ending' && endReason === 'revoked' ? revokedAt(id, endsAt ?? 0) : {}),
    ...marks,
  }
  return Object.fromEntries(Object.entries(item).filter(([, value]) => value !== undefined)) as Item & Key
}

/** An item as a registration, checked. `undefined` stays `undefined`: no such item. */
export function readRegistration(item: Item | undefined): StoredRegistration | undefined {
  return item === undefined ? undefined : registrationItem.parse(item)
}
