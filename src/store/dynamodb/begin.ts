import type { Lease, NewRegistration } from '../records.ts'
import type { BeginOutcome } from '../store.ts'
import { beginRotation } from './begin-rotation.ts'
import { beginWrites, writeLease } from './begin-writes.ts'
import type { DynamoDbConnection } from './connection.ts'
import { idempotencyKey } from './items.ts'
import { MOST_WRITES, portionsOf } from './portions.ts'
import {
  giveBack,
  type Reservation,
  reservation,
  reserve,
  spend,
  takeReservation,
  whyRefused,
} from './spend.ts'
import type { Write } from './writes.ts'

type Outcomes = Map<NewRegistration, BeginOutcome>

/**
 * See {@link Store.beginRegistrations}. The uses of each token are spent once. What fits one transaction with that goes in
 * it; for more, the spend leaves reservations, and the registrations take those, side by side.
 */
export async function beginRegistrations(
  db: DynamoDbConnection,
  registrations: readonly NewRegistration[],
  lease: Lease,
): Promise<BeginOutcome[]> {
  const outcomes: Outcomes = new Map()
  const fresh = withoutTwins(registrations, outcomes)
  const roots = fresh.filter(({ rotation }) => rotation === null)
  const byToken = [...Map.groupBy(roots, ({ tokenId }) => tokenId).values()]
  const isSmall = (own: readonly NewRegistration[]) => sizeOf(own) <= MOST_WRITES
  const small = portionsOf(byToken.filter(isSmall), sizeOf).map((portion) => portion.flat())
  const large = byToken.filter((own) => !isSmall(own))
  const [only] = small
  const isOne = small.length === 1 && large.length === 0 && roots.length === fresh.length
  if (only !== undefined && isOne && sizeOf(only) < MOST_WRITES) {
    await beginTogether(db, only, lease, outcomes, [writeLease(lease)])
  } else if (fresh.length > 0) {
    await db.write(writeLease(lease))
    await Promise.all([
      db.each(small, (portion) => beginTogether(db, portion, lease, outcomes)),
      db.each(large, (own) => beginReserved(db, own, lease, outcomes)),
    ])
  }
  for (const one of fresh) {
    if (one.rotation !== null) outcomes.set(one, await beginRotation(db, one, one.rotation, lease))
  }
  return registrations.map((one) => outcomes.get(one) ?? { outcome: 'duplicate' })
}

/** What is in the batch twice, with one idempotency key: a transaction has each item once, so the second waits for none. */
function withoutTwins(registrations: readonly NewRegistration[], outcomes: Outcomes): NewRegistration[] {
  const seen = new Set<string>()
  return registrations.filter((one) => {
    if (one.idempotency === null) return true
    const { pk } = idempotencyKey(one.tokenId, one.idempotency.keyHash)
    if (seen.has(pk)) outcomes.set(one, { outcome: 'duplicate' })
    return seen.size < seen.add(pk).size
  })
}

/** The writes of registrations, and of one spend for each token, which are of few tokens. */
function sizeOf(registrations: readonly NewRegistration[]): number {
  const tokens = new Set(registrations.map(({ tokenId }) => tokenId)).size
  return registrations.reduce((sum, one) => sum + writesOf(one), tokens)
}

const writesOf = ({ idempotency }: NewRegistration): number => (idempotency === null ? 1 : 2)

/**
 * Spends the uses and writes the registrations, in one transaction. Where a condition is not met, those that it concerns
 * drop out, and the others are tried again.
 */
async function beginTogether(
  db: DynamoDbConnection,
  portion: readonly NewRegistration[],
  lease: Lease,
  outcomes: Outcomes,
  more: readonly Write[] = [],
): Promise<void> {
  let left = portion
  while (left.length > 0) {
    const spends = [...Map.groupBy(left, ({ tokenId }) => tokenId)]
    const begun = left.flatMap((one) => beginWrites(one, lease).map((write) => ({ one, write })))
    const unmet = await db.transact([
      ...spends.map(([tokenId, own]) => spend(tokenId, own)),
      ...begun.map(({ write }) => write),
      ...more,
    ])
    if (unmet.length === 0) return settle(left, { outcome: 'begun' }, outcomes)
    // First those that need no use.
    for (const place of unmet) {
      const duplicate = begun[place - spends.length]?.one
      if (duplicate !== undefined) outcomes.set(duplicate, { outcome: 'duplicate' })
    }
    for (const place of unmet) {
      const [tokenId, own = []] = spends[place] ?? []
      const others = own.filter((one) => !outcomes.has(one))
      if (tokenId !== undefined) await refuse(db, tokenId, others, outcomes)
    }
    left = left.filter((one) => !outcomes.has(one))
  }
}

/** As {@link beginTogether}, for more of one token than a transaction holds. */
async function beginReserved(
  db: DynamoDbConnection,
  registrations: readonly NewRegistration[],
  lease: Lease,
  outcomes: Outcomes,
): Promise<void> {
  let left = registrations
  while (left.length > 0) {
    const tokenId = left[0]?.tokenId ?? ''
    const now = left[0]?.createdAt ?? 0
    // Room for the reservation that each takes, and for what it may have to give back.
    const portions = portionsOf(left, writesOf, MOST_WRITES - 2).map((own, i) => ({
      own,
      reserved: reservation(lease.owner, `${tokenId}#${i}`, tokenId, own.length),
    }))
    const reserves = portions.map(({ reserved }) => reserve(reserved, lease.owner, now))
    const unmet = await db.transact([spend(tokenId, left), ...reserves])
    if (unmet.length === 0) {
      await db.each(portions, ({ own, reserved }) => beginPortion(db, own, reserved, lease, outcomes))
      return
    }
    await refuse(db, tokenId, left, outcomes)
    left = left.filter((one) => !outcomes.has(one))
  }
}

/** The registrations of one reservation. What was begun by the same request elsewhere is given back with it. */
async function beginPortion(
  db: DynamoDbConnection,
  portion: readonly NewRegistration[],
  reserved: Reservation,
  lease: Lease,
  outcomes: Outcomes,
): Promise<void> {
  for (let left = portion; ; left = left.filter((one) => !outcomes.has(one))) {
    const begun = left.flatMap((one) => beginWrites(one, lease).map((write) => ({ one, write })))
    const unused = portion.length - left.length
    const unmet = await db.transact([
      ...begun.map(({ write }) => write),
      takeReservation(reserved),
      ...(unused === 0 ? [] : [giveBack(reserved.tokenId, unused)]),
    ])
    if (unmet.length === 0) return settle(left, { outcome: 'begun' }, outcomes)
    // This process slept through its lease, and another gave the reservation back: nothing was begun, try again.
    if (unmet.includes(begun.length)) return settle(left, { outcome: 'duplicate' }, outcomes)
    for (const place of unmet) {
      const duplicate = begun[place]?.one
      if (duplicate !== undefined) outcomes.set(duplicate, { outcome: 'duplicate' })
    }
  }
}

async function refuse(
  db: DynamoDbConnection,
  tokenId: string,
  registrations: readonly NewRegistration[],
  outcomes: Outcomes,
): Promise<void> {
  const { allowed, token } = await whyRefused(db, tokenId, registrations)
  settle(registrations.slice(allowed), { outcome: 'refused', token }, outcomes)
}

function settle(registrations: readonly NewRegistration[], outcome: BeginOutcome, outcomes: Outcomes): void {
  for (const one of registrations) outcomes.set(one, outcome)
}
