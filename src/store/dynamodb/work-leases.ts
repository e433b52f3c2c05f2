import { hasCome, isAbandoned } from '../../registration/lifecycle.ts'
import type { MintingStore } from '../minting.ts'
import type { Registration, RegistrationStatus } from '../records.ts'
import { writeLease } from './begin-writes.ts'
import { leaseIsOver, sameStatus } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, check, update, type Write } from './expressions.ts'
import { keyOf, leaseKey, readLease, type StoredRegistration } from './item-codec.ts'
import { readAll, readReferenced } from './reads.ts'
import { transactInChunks, type Written } from './transact-in-chunks.ts'

type Leases = Pick<MintingStore, 'takeLeases' | 'renewLeases' | 'releaseLeases'>

/** The methods of {@link MintingStore} that give one worker at a time the right to work on a registration. */
export function dynamoDbLeases(db: DynamoDbConnection): Leases {
  return {
    async takeLeases(ids, status, lease, now) {
      const open = [...(await readAll(db, ids)).values()].filter((one) => mayBeTaken(one, status))
      const free = await withoutLease(db, open, now)
      if (free.length === 0) return new Set()
      await db.write(writeLease(lease))
      const isRotation = ({ rotation }: Registration) => status === 'active' && rotation !== null
      const { rotations = [], others = [] } = Object.groupBy(free, (one) =>
        isRotation(one) ? 'rotations' : 'others',
      )
      // By the previous owner: that its lease has expired is checked once in a transaction.
      const byOwner = [...Map.groupBy(others, ({ leaseOwner }) => leaseOwner)]
      const groups = await db.each(byOwner, ([before, own]) =>
        take(db, own, status, lease.owner, before, now),
      )
      // One by one: the registration that each rotates is written too, and several may rotate the same one.
      for (const one of rotations) {
        const busy = await makeBusy(db, one)
        groups.push(await take(db, [one], status, lease.owner, one.leaseOwner, now, busy))
      }
      const errors = groups.flatMap((group) => group.errors)
      const taken = groups.flatMap(({ written }) => written)
      if (errors.length > 0 && taken.length === 0) throw errors[0]
      return new Set(taken.map(({ id }) => id))
    },

    // The lease item of a worker from whom a registration was taken over has no registration any more.
    async renewLeases(owners, until) {
      const isThere: Condition = { when: 'attribute_exists(#pk)' }
      await db.each(owners, (owner) =>
        db.write(update(leaseKey(owner), { set: { until } }, isThere, leaseIsOver(until))),
      )
    },
    async releaseLeases(held) {
      await db.each(held, ({ id, owner }) => {
        const isHeld: Condition = { when: '#leaseOwner = :owner', values: { owner } }
        return db.write(update(keyOf(id), { set: { leaseOwner: undefined } }, isHeld))
      })
    },
  }
}

/** Those of the records that no worker holds. A lease without an item expired long ago. */
export async function withoutLease<T extends { readonly leaseOwner?: string | undefined }>(
  db: DynamoDbConnection,
  records: readonly T[],
  now: number,
): Promise<T[]> {
  const leases = await readLeases(
    db,
    records.flatMap(({ leaseOwner }) => leaseOwner ?? []),
  )
  return records.filter(
    ({ leaseOwner }) => leaseOwner === undefined || hasCome(leases.get(leaseOwner) ?? 0, now),
  )
}

/** The ends of leases, by their owners; owners without a lease item are left out. */
export async function readLeases(
  db: DynamoDbConnection,
  owners: readonly string[],
): Promise<Map<string, number>> {
  const ends = new Map(
    (await db.getAll(owners.map(leaseKey))).map(readLease).map(({ pk, until }) => [pk, until]),
  )
  return new Map(
    owners.flatMap((owner) => {
      const until = ends.get(leaseKey(owner).pk)
      return until === undefined ? [] : [[owner, until] as const]
    }),
  )
}

function mayBeTaken(one: Registration, status: RegistrationStatus): boolean {
  if (one.status !== status) return false
  if (status === 'active') return isAbandoned(one)
  return status !== 'failed' || one.sweepAt !== null
}

/**
 * Compare-and-swap: of two processes that find the same expired lease one takes it, and none if the registration was
 * answered, ended or swept since it was listed, or if its owner renewed the lease. An active one becomes pending in the same
 * step, so that no retry can receive a key that is about to be deleted.
 */
async function take(
  db: DynamoDbConnection,
  registrations: readonly StoredRegistration[],
  status: RegistrationStatus,
  leaseOwner: string,
  before: string | undefined,
  now: number,
  more: readonly Write[] = [],
): Promise<Written<StoredRegistration>> {
  const sameOwner: Condition =
    before === undefined
      ? { when: 'attribute_not_exists(#leaseOwner)' }
      : { when: '#leaseOwner = :before', values: { before } }
  const isStillOpen: Partial<Record<RegistrationStatus, Condition>> = {
    active: { when: 'attribute_not_exists(#answeredAt) AND attribute_not_exists(#keyHash)' },
    failed: { when: 'attribute_exists(#sweepAt)' },
  }
  const set = { leaseOwner, ...(status === 'active' ? { status: 'pending', undoing: true } : {}) }
  const shared = (): Write[] => [
    ...(before === undefined ? [] : [check(leaseKey(before), leaseIsOver(now))]),
    ...more,
  ]
  return transactInChunks(
    db,
    registrations,
    (one) => [
      update(keyOf(one.id), { set }, sameStatus(one), sameOwner, ...[isStillOpen[status] ?? []].flat()),
    ],
    { shared },
  )
}

/** Makes an active rotation, which becomes pending, the one that its registration waits for, unless there is another. */
async function makeBusy(db: DynamoDbConnection, { id, rotation }: StoredRegistration): Promise<Write[]> {
  if (rotation === null) return []
  const root = await readReferenced(db, rotation.of)
  if (root.pendingRotation !== undefined) return []
  const unanswered = root.unansweredRotation === id ? { unansweredRotation: undefined } : {}
  const isIdle: Condition = { when: 'attribute_not_exists(#pendingRotation)' }
  return [update(keyOf(root.id), { set: { pendingRotation: id, ...unanswered } }, isIdle)]
}
