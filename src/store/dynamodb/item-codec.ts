import { z } from 'zod'
import { isAbandoned, isUndelivered } from '../../registration/lifecycle.ts'
import { federationJson, parseRecord } from '../parse-record.ts'
import {
  type AccessToken,
  type BootstrapToken,
  END_REASONS,
  FAILURES,
  mostUses,
  type NewRegistration,
  REGISTRATION_STATUSES,
  type Registration,
} from '../records.ts'
import type { Item, Key } from './expressions.ts'

const SINGLE = '-'

/** The primary key of an item that is alone in its partition. */
export const keyOf = (pk: string): Key => ({ pk, sk: SINGLE })
export const secretKey = (secretHash: Uint8Array): Key => keyOf(`secret#${hex(secretHash)}`)
export const idempotencyKey = (tokenId: string, keyHash: Uint8Array): Key =>
  keyOf(`idem#${tokenId}#${hex(keyHash)}`)
export const proofKey = (hash: Uint8Array): Key => keyOf(`proof#${hex(hash)}`)
export const nameKey = (tokenId: string, name: string): Key => keyOf(`name#${tokenId}#${name}`)
export const accessTokenKey = (secretHash: Uint8Array): Key => keyOf(`access#${hex(secretHash)}`)
/** The attributes by which access tokens are listed. There are few: one partition is enough. */
export const accessUntil = (at: number) => ({ work: 'access', workAt: at })
export const leaseKey = (owner: string): Key => keyOf(`lease#${owner}`)

/** Partitions over which an index spreads simultaneous writes: DynamoDB takes 1,000 writes a second in each. */
const SHARDS = 4
export const shards: readonly number[] = Array.from({ length: SHARDS }, (_, i) => i)
/** Ids end with random characters. */
export const shardOf = (id: string): number => id.charCodeAt(id.length - 1) % SHARDS

/** A time as text that sorts in the order of times. */
export const sortable = (ms: number): string => String(ms).padStart(15, '0')
/** The sort key of lists of registrations, rotations and tokens: by time, then by id. */
export const listedAt = (id: string, createdAt: number): string => `${sortable(createdAt)}#${id}`

/** The attributes by which recovery finds a registration from `at` on. */
export const openAt = (id: string, at: number) => ({ work: `open#${shardOf(id)}`, workAt: at })
/** The attributes by which a reservation of uses is found. There are few: one partition is enough. */
export const spentAt = (at: number) => ({ work: 'spent', workAt: at })
/** The attributes of a registration or rotation that was answered at `at` and is not recorded as delivered. */
export const undeliveredSince = (id: string, at: number) => ({
  undelivered: true,
  work: `undelivered#${shardOf(id)}`,
  workAt: at,
})
const SWITCH = 'switch#'
/** The key of the item by which a key that is to be switched off or on is found. */
export const switchKey = (id: string): Key => keyOf(`${SWITCH}${id}`)
/** The item of {@link switchKey}, with the attributes of its index. There are few such items: one partition is enough. */
export const switchAt = (id: string, at: number) => ({ ...switchKey(id), work: 'switch', workAt: at })
/** The id of the registration whose key an item of {@link switchAt} is about. */
export const switchedId = (pk: string): string => pk.slice(SWITCH.length)
/** The prefix of the sort keys of a token's spends, which are in the order of time. */
export const SPEND = 'spend#'
/** The key of a spend of uses. @param id the first registration that it is for */
export const spendKey = (tokenId: string, createdAt: number, id: string): Key => ({
  pk: tokenId,
  sk: `${SPEND}${listedAt(id, createdAt)}`,
})
/** The attributes of a registration that needs no recovery. */
export const NOT_OPEN = { work: undefined, workAt: undefined }
/** The attributes by which the end of a key is found; none for a key without an end. */
export const endingAt = (id: string, at: number | null | undefined) =>
  at === null || at === undefined
    ? { ends: undefined, endsAt: undefined }
    : { ends: `ends#${shardOf(id)}`, endsAt: at }
/** The attributes by which a replaced key is found. */
export const rotatedAt = (id: string, at: number) => ({ ends: `rotated#${shardOf(id)}`, endsAt: at })
/** The attributes by which a revoked key is found. */
export const revokedAt = (id: string, at: number) => ({ ends: `revoked#${shardOf(id)}`, endsAt: at })
/** The attributes of a registration whose idempotency key is forgotten. */
export const FORGOTTEN = { keyHash: undefined, requestHash: undefined, sealed: undefined }

export const managerOf = (managementHash: Uint8Array): string => hex(managementHash)

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** A record without its `null` fields: items leave them out. */
function withoutNull(record: Item): Item {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null))
}

const bytes = z.instanceof(Uint8Array)
const text = z.string()
const time = z.number()
/** An attribute that is missing is `null` in a record. */
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
  federation: orNull(federationJson),
})

/** The uses left of a token without a limit: more than can ever be spent. */
export const ANY_NUMBER = Number.MAX_SAFE_INTEGER

/** A token as an item. A spend tests `usesLeft`, because a condition cannot calculate it. */
export function toTokenItem(token: BootstrapToken): Item & Key {
  const { id, uses, createdAt, federation } = token
  return {
    ...withoutNull({ ...token, federation: federation && JSON.stringify(federation) }),
    ...keyOf(id),
    usesLeft: (mostUses(token) ?? ANY_NUMBER) - uses,
    listed: 'tokens',
    listedAt: listedAt(id, createdAt),
  }
}

/** An item as a token, validated. `undefined`: there is no such item. */
export function readToken(item: Item | undefined): BootstrapToken | undefined {
  return item === undefined ? undefined : parse(tokenItem, item, 'token')
}

const proof = z.object({ hash: bytes, expiresAt: time })

const registrationItem = z
  .object({
    id: text,
    tokenId: text,
    status: z.enum(REGISTRATION_STATUSES),
    name: text,
    description: text,
    plan: text,
    usagePlanId: text,
    managementHash: bytes,
    apiKeyId: orNull(text),
    createdAt: time,
    endedAt: orNull(time),
    expiresAt: orNull(time),
    failure: orNull(z.enum(FAILURES)),
    keyHash: bytes.optional(),
    requestHash: bytes.optional(),
    sealed: bytes.optional(),
    answeredAt: orNull(time),
    deliveredAt: orNull(time),
    undelivered: z.boolean().default(false),
    leaseOwner: text.optional(),
    sweepAt: orNull(time),
    undoing: z.boolean().default(false),
    endsAt: orNull(time),
    endReason: orNull(z.enum(END_REASONS)),
    rotationOf: text.optional(),
    overlapMs: z.number().optional(),
    renewsManagement: z.boolean().optional(),
    replacedId: orNull(text),
    currentId: orNull(text),
    previousManagementHash: orNull(bytes),
    suspendedAt: orNull(time),
    switchAt: orNull(time),
    finalUsage: orNull(z.record(text, z.number())),
    clientMetadata: orNull(text),
    federated: orNull(z.object({ proof: proof.nullable(), holdsName: z.boolean() })),
    holdsPlace: z.boolean().default(false),
    seenWorking: z.boolean().optional(),
    pendingRotation: text.optional(),
    unansweredRotation: text.optional(),
    forgottenRotation: text.optional(),
  })
  .refine(
    ({ keyHash, requestHash, sealed }) => new Set([keyHash, requestHash, sealed].map(isThere)).size === 1,
    'has only a part of what an idempotency key needs',
  )
  .refine(
    ({ rotationOf, overlapMs, renewsManagement }) =>
      new Set([rotationOf, overlapMs, renewsManagement].map(isThere)).size === 1,
    'has only a part of what a rotation needs',
  )
  .transform(
    ({
      keyHash,
      requestHash,
      sealed,
      rotationOf,
      overlapMs,
      renewsManagement,
      undelivered,
      ...item
    }): StoredRegistration => ({
      ...item,
      // Earlier versions do not set `undelivered`. Their answers count as delivered, also while one runs beside this one.
      deliveredAt: item.deliveredAt ?? (undelivered ? null : item.answeredAt),
      idempotency: keyHash && requestHash && sealed ? { keyHash, requestHash, sealed } : null,
      rotation:
        rotationOf === undefined || overlapMs === undefined || renewsManagement === undefined
          ? null
          : { of: rotationOf, overlapMs, renewsManagement },
    }),
  )

function isThere(attribute: unknown): boolean {
  return attribute !== undefined
}

/** A registration with the attributes that only this store keeps. */
export interface StoredRegistration extends Registration {
  /** The owner of its lease; the lease item has its end. */
  readonly leaseOwner?: string | undefined
  /** Its `pending` rotation: there is one at a time. */
  readonly pendingRotation?: string | undefined
  /** Its `active` rotation that no caller received yet. */
  readonly unansweredRotation?: string | undefined
  /** Its latest rotation that was forgotten before a caller received it. Its key may still have to be deleted. */
  readonly forgottenRotation?: string | undefined
}

/** A registration with the fields that every store returns, and no others. */
export function toRegistration(stored: StoredRegistration): Registration {
  const {
    leaseOwner: _owner,
    pendingRotation: _pending,
    unansweredRotation: _unanswered,
    forgottenRotation: _forgotten,
    ...registration
  } = stored
  return registration
}

/** A new registration or rotation as an item. */
export function toRegistrationItem(registration: NewRegistration, leaseOwner: string) {
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
  if (rotation === null) {
    const held = registration.federated === null ? {} : { holdsPlace: true }
    return { ...own, ...held, listed: `reg#${shardOf(id)}`, manager: managerOf(managementHash) }
  }
  const { of: rotationOf, overlapMs, renewsManagement } = rotation
  return { ...own, listed: `rot#${shardOf(id)}`, rotationOf, overlapMs, renewsManagement }
}

/** A new registration or rotation that is active and answered at once, as an item. */
export function toAnsweredItem(registration: NewRegistration, apiKeyId: string, now: number): Item & Key {
  const { leaseOwner: _none, ...begun } = toRegistrationItem(registration, '')
  const answered = { status: 'active', apiKeyId, endedAt: now, answeredAt: now }
  return { ...begun, ...answered, ...undeliveredSince(registration.id, now) }
}

/** A registration or rotation of another store as an item, whatever its status. */
export function toRestoredItem(record: Registration, marks: Item): Item & Key {
  const begun = toRegistrationItem(record, '')
  const { idempotency: _i, rotation: _r, undoing, holdsPlace, ...fields } = record
  const { status, id, endsAt, endReason, createdAt, sweepAt, answeredAt, deliveredAt } = record
  const isOpen = status === 'pending' || isAbandoned(record)
  const looked = sweepAt === null ? (isOpen ? openAt(id, createdAt) : NOT_OPEN) : openAt(id, sweepAt)
  const ends = status === 'active' || status === 'ending' || status === 'pending'
  const item = {
    ...begun,
    ...withoutNull(fields),
    leaseOwner: undefined,
    ...(undoing ? { undoing } : {}),
    holdsPlace: holdsPlace ? true : undefined,
    ...looked,
    ...(answeredAt !== null && deliveredAt === null ? { undelivered: true } : {}),
    ...(isUndelivered(record) && answeredAt !== null ? undeliveredSince(id, answeredAt) : {}),
    ...(ends ? endingAt(id, endsAt) : { ends: undefined, endsAt: endsAt ?? undefined }),
    ...(ends && endReason === 'rotated' && endsAt !== null ? rotatedAt(id, endsAt) : {}),
    ...(status === 'ending' && endReason === 'revoked' && endsAt !== null ? revokedAt(id, endsAt) : {}),
    ...marks,
  }
  return Object.fromEntries(Object.entries(item).filter(([, value]) => value !== undefined)) as Item & Key
}

/** An item as a registration, validated. `undefined`: there is no such item. */
export function readRegistration(item: Item | undefined): StoredRegistration | undefined {
  return item === undefined ? undefined : parse(registrationItem, item, 'registration')
}

const secretItem = z.object({ tokenId: text })
const pointerItem = z.object({ registrationId: text })
const leaseItem = z.object({ pk: text, until: time })
const linkItem = z.object({ rotationId: text })
const spendItem = z.object({
  pk: text,
  sk: text,
  count: z.int().positive(),
  /** The registrations that the uses are spent for; none: they are about to be written. */
  ids: z.array(text).default([]),
  /** Until they are written: the owner of the lease under which they are. */
  leaseOwner: text.optional(),
})
const holderItem = z.object({ holder: text.optional() })
const accessTokenItem = z.object({
  secretHash: bytes,
  tokenId: text,
  expiresAt: time,
  proof: orNull(proof),
})
const keyItem = z.object({ pk: text, sk: text })
const listedItem = z.object({ pk: text, listedAt: text })

/** The id of the token to which the item of a secret refers. */
export const readSecret = (item: Item): string => parse(secretItem, item, 'token secret').tokenId
/** The id of the registration to which the item of an idempotency key refers. */
export const readPointer = (item: Item): string => parse(pointerItem, item, 'idempotency key').registrationId
/** The partition key of a lease, and its end. */
export const readLease = (item: Item) => parse(leaseItem, item, 'lease')
/** The id of the rotation to which the link of a registration refers. */
export const readLink = (item: Item): string => parse(linkItem, item, 'link to a rotation').rotationId
/** Uses that are spent together. */
export const readSpend = (item: Item) => parse(spendItem, item, 'spend of uses')
/** The registration or rotation that holds a name or a proof; `null`: an access token. */
export const readHolder = (item: Item): string | null => parse(holderItem, item, 'claim').holder ?? null
/** An item as an access token, validated. */
export const readAccessToken = (item: Item): AccessToken => parse(accessTokenItem, item, 'access token')
/** The id of an item that an index refers to. */
export const readId = (item: Item): string => readKey(item).pk
/** The primary key of an item. */
export const readKey = (item: Item): Key => parse(keyItem, item, 'item')
/** The id of an item that a list refers to, and its place in the list. */
export const readListed = (item: Item) => parse(listedItem, item, 'list entry')

function parse<T>(schema: z.ZodType<T>, item: Item, kind: string): T {
  return parseRecord(schema, item, `${kind} ${item['pk']} ${item['sk']}`)
}
