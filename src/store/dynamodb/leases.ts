import type { Registration, RegistrationStatus } from '../records.ts'
import type { Store } from '../store.ts'
import { writeLease } from './begin-writes.ts'
import type { DynamoDbConnection } from './connection.ts'
import {
  FORGOTTEN,
  idempotencyKey,
  keyOf,
  leaseKey,
  openAt,
  type StoredRegistration,
  shards,
} from './items.ts'
import { writeParts } from './parts.ts'
import { readAll, readOne } from './reads.ts'
import { giveBackAbandoned, isReservation } from './spend.ts'
import { type Condition, check, type Item, remove, update, type Write } from './writes.ts'

type Leases = Pick<
  Store,
  | 'takeLeases'
  | 'renewLeases'
  | 'releaseLeases'
  | 'listRecoverable'
  | 'forgetIdempotency'
  | 'takeDuty'
  | 'releaseDuty'
>

/** A duty that ends so much later (ms) than one taken now was taken by a clock that was wrong. */
const CLOCK_FAULT_MS = 60_000
const DUTY_TTL_S = 86_400
/** Requests that are forgotten before looking for more. */
const FORGOTTEN_AT_ONCE = 1_000

/** The part of the store that says who works on what, and what nobody works on. */
export function dynamoDbLeases(db: DynamoDbConnection): Leases {
  return {
    async takeLeases(ids, status, lease, now) {
      const open = [...(await readAll(db, ids)).values()].filter((one) => isThere(one, status))
      const untilOf = await readLeases(db, open)
      const free = open.filter(({ leaseOwner }) => isFree(leaseOwner, untilOf, now))
      if (free.length === 0) return new Set()
      await db.write(writeLease(lease))
      // By the owner before: that its lease has lapsed is checked once in a transaction.
      const byOwner = [...Map.groupBy(free, ({ leaseOwner }) => leaseOwner)]
      const taken = await db.each(byOwner, ([before, own]) => take(db, own, status, lease.owner, before, now))
      return new Set(taken.flat().map(({ id }) => id))
    },

    // A lease that somebody took over is on no registration any more, and extending it keeps nothing.
    async renewLeases(owners, until) {
      const isThere: Condition = { when: 'attribute_exists(#pk) AND #until < :until', values: { until } }
      await db.each(owners, (owner) => db.write(update(leaseKey(owner), { set: { until } }, isThere)))
    },
    async releaseLeases(held) {
      await db.each(held, ({ id, owner }) =>
        db.write(
          update(
            keyOf(id),
            { set: { leaseOwner: undefined } },
            { when: '#leaseOwner = :owner', values: { owner } },
          ),
        ),
      )
    },

    async listRecoverable(now, limit) {
      const due = await ofShards(db, 'open', '#workAt <= :to', now, limit)
      const { reservations = [], registrations = [] } = Object.groupBy(due, (item) =>
        isReservation(item) ? 'reservations' : 'registrations',
      )
      await giveBackAbandoned(db, reservations, now)
      const open = await readAll(
        db,
        registrations.map(({ pk }) => String(pk)),
      )
      const needed = [...open.values()].filter((one) => needsRecovery(one, now))
      const untilOf = await readLeases(db, needed)
      return needed
        .filter(({ leaseOwner }) => isFree(leaseOwner, untilOf, now))
        .sort((a, b) => a.createdAt - b.createdAt)
        .slice(0, limit)
    },

    async forgetIdempotency(createdBefore) {
      for (;;) {
        const old = await ofShards(db, 'remembered', '#workAt < :to', createdBefore, FORGOTTEN_AT_ONCE)
        await db.each(old, (pointer) => forget(db, pointer))
        if (old.length < FORGOTTEN_AT_ONCE) return
      }
    },

    takeDuty(name, { owner, until }, now) {
      // Compare-and-swap: of two processes that want a duty that lapsed one gets it.
      const isFreeOrMine: Condition = {
        when: 'attribute_not_exists(#pk) OR #owner = :owner OR #until <= :now OR #until > :wrong',
        values: { owner, now, wrong: until + CLOCK_FAULT_MS },
      }
      const set = { owner, until, ttl: Math.ceil(until / 1_000) + DUTY_TTL_S }
      return db.write(update(keyOf(`duty#${name}`), { set }, isFreeOrMine))
    },
    async releaseDuty(name, owner) {
      await db.write(remove(keyOf(`duty#${name}`), { when: '#owner = :owner', values: { owner } }))
    },
  }
}

/** What of the shards of an index is due, as keys: the first `limit` of each shard. */
export async function ofShards(
  db: DynamoDbConnection,
  kind: 'open' | 'remembered' | 'ends' | 'revoked',
  due: string,
  to: number,
  limit: number,
): Promise<Item[]> {
  const index = kind === 'ends' || kind === 'revoked' ? 'ends' : 'work'
  const found = await Promise.all(
    shards.map(async (shard) => {
      const items: Item[] = []
      const values = { ':partition': `${kind}#${shard}`, ':to': to }
      const where = `#${index} = :partition AND ${due}`
      for await (const page of db.query({ index, where, values, pageSize: Math.min(limit, 500) })) {
        items.push(...page)
        if (items.length >= limit) break
      }
      return items
    }),
  )
  return found.flat()
}

/** Until when the owners of these work; one that is not there has lapsed long ago. */
async function readLeases(
  db: DynamoDbConnection,
  registrations: readonly StoredRegistration[],
): Promise<Map<string, number>> {
  const owners = new Set(registrations.flatMap(({ leaseOwner }) => leaseOwner ?? []))
  const items = await db.getAll([...owners].map(leaseKey))
  return new Map(items.map(({ pk, until }) => [String(pk), Number(until)]))
}

function isFree(leaseOwner: string | undefined, untilOf: Map<string, number>, now: number): boolean {
  if (leaseOwner === undefined) return true
  const until = untilOf.get(leaseKey(leaseOwner).pk)
  return until === undefined || until <= now
}

function isAbandoned({ status, answeredAt, idempotency }: Registration): boolean {
  return status === 'active' && answeredAt === null && idempotency === null
}

function needsRecovery(one: Registration, now: number): boolean {
  const isSweepDue = one.sweepAt !== null && one.sweepAt <= now
  return one.status === 'pending' || isAbandoned(one) || isSweepDue
}

function isThere(one: Registration, status: RegistrationStatus): boolean {
  return one.status === status && (status !== 'active' || isAbandoned(one))
}

/**
 * Compare-and-swap: of two processes that find the same lapsed lease one takes it, and none if the registration ended
 * since it was looked at, or its owner renewed the lease. What is active goes back to pending with it, so that a retry
 * cannot be given a key that is about to be deleted.
 */
async function take(
  db: DynamoDbConnection,
  registrations: readonly StoredRegistration[],
  status: RegistrationStatus,
  leaseOwner: string,
  before: string | undefined,
  now: number,
): Promise<StoredRegistration[]> {
  const asSeen: Condition = {
    when: `#status = :seen AND ${
      before === undefined ? 'attribute_not_exists(#leaseOwner)' : '#leaseOwner = :before'
    }${status === 'active' ? ' AND attribute_not_exists(#answeredAt) AND attribute_not_exists(#keyHash)' : ''}`,
    values: { seen: status, ...(before === undefined ? {} : { before }) },
  }
  const hasLapsed: Condition = { when: 'attribute_not_exists(#pk) OR #until <= :now', values: { now } }
  const set = { leaseOwner, ...(status === 'active' ? { status: 'pending', undoing: true } : {}) }
  const shared = (): Write[] => (before === undefined ? [] : [check(leaseKey(before), hasLapsed)])
  const { written, errors } = await writeParts(
    db,
    registrations,
    ({ id }) => [update(keyOf(id), { set }, asSeen)],
    shared,
  )
  if (errors.length > 0 && written.length === 0) throw errors[0]
  return written
}

/** Forgets one request: the key, and the sealed answer. What nobody was answered of it is there to be recovered then. */
async function forget(db: DynamoDbConnection, { pk }: Item): Promise<void> {
  const pointer = await db.get(keyOf(String(pk)))
  const id = pointer?.['registrationId']
  if (pointer === undefined || id === undefined) return
  for (;;) {
    const one = await readOne(db, String(id))
    if (one === undefined) return
    const asSeen: Condition = {
      when: `#status = :seen AND attribute_${one.answeredAt === null ? 'not_exists' : 'exists'}(#answeredAt)`,
      values: { seen: one.status },
    }
    const waits = one.status === 'active' && one.answeredAt === null
    const set = { ...FORGOTTEN, ...(waits ? openAt(one.id, one.createdAt) : {}) }
    const own = one.idempotency !== null && samePointer(one, String(pk))
    const writes = [
      remove(keyOf(String(pk)), { when: '#registrationId = :id', values: { id } }),
      ...(own ? [update(keyOf(one.id), { set }, asSeen)] : []),
    ]
    const unmet = await db.transact(writes)
    if (unmet.length === 0 || unmet.includes(0)) return
  }
}

function samePointer({ tokenId, idempotency }: StoredRegistration, pk: string): boolean {
  return idempotency !== null && idempotencyKey(tokenId, idempotency.keyHash).pk === pk
}

/** Forgets every request of a token, but for those of rotations. */
export async function forgetOfToken(db: DynamoDbConnection, tokenId: string): Promise<void> {
  const all = await ofShards(db, 'remembered', '#workAt >= :to', 0, Number.MAX_SAFE_INTEGER)
  const own = all.filter(({ pk }) => String(pk).startsWith(`idem#${tokenId}#`))
  await db.each(own, async (pointer) => {
    const item = await db.get(keyOf(String(pointer['pk'])))
    const one = await readOne(db, String(item?.['registrationId']))
    if (one?.rotation === null) await forget(db, pointer)
  })
}
