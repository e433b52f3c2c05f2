import type { BeginOutcome } from '../minting.ts'
import type { Lease, NewRegistration } from '../records.ts'
import { beginRotation } from './begin-rotation.ts'
import { type BeginWrite, beginWrites, countBeginWrites, writeLease } from './begin-writes.ts'
import { chunkBySize, MAX_WRITES } from './chunk.ts'
import { findHolder } from './claims.ts'
import type { DynamoDbConnection } from './connection.ts'
import { put, type Write } from './expressions.ts'
import { idempotencyKey } from './item-codec.ts'
import {
  groupByToken,
  type Reservation,
  refund,
  reservation,
  reserve,
  spend,
  spendRecord,
  type TokenGroup,
  takeReservation,
  WRITES_OF_A_TOKEN,
  whyRefused,
} from './token-uses.ts'
import { beginInTurn } from './twins.ts'

type Outcomes = Map<NewRegistration, BeginOutcome>

/**
 * {@link MintingStore.beginRegistrations}. The uses of each token are spent by one write. Registrations that fit one
 * transaction with it are written there; for more, the spend leaves reservations, which further transactions take, side by
 * side.
 */
export async function beginRegistrations(
  db: DynamoDbConnection,
  registrations: readonly NewRegistration[],
  lease: Lease,
): Promise<BeginOutcome[]> {
  return beginInTurn(
    registrations,
    (registration) => ({ registration }),
    (fresh) => beginFresh(db, fresh, lease),
  )
}

/** Begins registrations of which no two claim the same. */
async function beginFresh(
  db: DynamoDbConnection,
  fresh: readonly NewRegistration[],
  lease: Lease,
): Promise<(BeginOutcome | undefined)[]> {
  const outcomes: Outcomes = new Map()
  const roots = fresh.filter(({ rotation }) => rotation === null)
  const byToken = groupByToken(roots)
  const isSmall = ([, own]: TokenGroup) => sizeOf(own) <= MAX_WRITES
  const small = chunkBySize(byToken.filter(isSmall), ([, own]) => sizeOf(own)).map((groups) =>
    groups.flatMap(([, own]) => own),
  )
  const large = byToken.filter((group) => !isSmall(group))
  const [only] = small
  const isOne = small.length === 1 && large.length === 0 && roots.length === fresh.length
  if (only !== undefined && isOne && sizeOf(only) < MAX_WRITES) {
    await beginTogether(db, only, lease, outcomes, [writeLease(lease)])
  } else if (fresh.length > 0) {
    await db.write(writeLease(lease))
    await Promise.all([
      db.each(small, (chunk) => beginTogether(db, chunk, lease, outcomes)),
      db.each(large, (group) => beginReserved(db, group, lease, outcomes)),
    ])
  }
  for (const one of fresh) {
    if (one.rotation !== null) outcomes.set(one, await beginRotation(db, one, one.rotation, lease))
  }
  return fresh.map((one) => outcomes.get(one))
}

/** The number of writes: those of the registrations, and those of their tokens. */
function sizeOf(registrations: readonly NewRegistration[]): number {
  const tokens = new Set(registrations.map(({ tokenId }) => tokenId)).size
  return registrations.reduce((sum, one) => sum + countBeginWrites(one), tokens * WRITES_OF_A_TOKEN)
}

/**
 * Spends the uses and writes the registrations in one transaction. Registrations whose condition is not met drop out, and
 * the others are tried again.
 */
async function beginTogether(
  db: DynamoDbConnection,
  chunk: readonly NewRegistration[],
  lease: Lease,
  outcomes: Outcomes,
  more: readonly Write[] = [],
): Promise<void> {
  let left = chunk
  while (left.length > 0) {
    const tokens = groupByToken(left)
    const spends = [
      ...tokens.map(([tokenId, own]) => spend(tokenId, own)),
      ...tokens.map(([tokenId, own]) => put(spendRecord(tokenId, own))),
    ]
    const begun = left.flatMap((one) => beginWrites(one, lease))
    const unmet = await db.transact([...spends, ...begun.map(({ write }) => write), ...more])
    if (unmet.length === 0) return settle(left, { outcome: 'begun' }, outcomes)
    // First those that need no use.
    const own = unmet.flatMap((place) => begun[place - spends.length] ?? [])
    await settleHeld(db, own, outcomes)
    for (const [place, [tokenId, own]] of tokens.entries()) {
      if (!unmet.includes(place)) continue
      const others = own.filter((one) => !outcomes.has(one))
      await refuse(db, tokenId, others, outcomes)
    }
    left = left.filter((one) => !outcomes.has(one))
  }
}

/** As {@link beginTogether}, for more registrations of one token than a transaction holds. */
async function beginReserved(
  db: DynamoDbConnection,
  [tokenId, registrations]: TokenGroup,
  lease: Lease,
  outcomes: Outcomes,
): Promise<void> {
  let left: readonly NewRegistration[] = registrations
  while (left.length > 0) {
    const now = Math.max(...left.map(({ createdAt }) => createdAt))
    // Two writes are kept free: for the reservation that each chunk takes, and for a refund.
    const chunks = chunkBySize(left, countBeginWrites, MAX_WRITES - 2)
      .flatMap(groupByToken)
      .map(([, own]) => ({
        own,
        reserved: reservation(tokenId, own),
      }))
    const reserves = chunks.map(({ reserved }) => reserve(reserved, lease.owner, now))
    const unmet = await db.transact([spend(tokenId, left), ...reserves])
    if (unmet.length === 0) {
      await db.each(chunks, ({ own, reserved }) => beginChunk(db, own, reserved, lease, outcomes))
      return
    }
    // First those that need no use.
    const duplicates = await withKnownKey(db, left)
    settle(duplicates, { outcome: 'duplicate' }, outcomes)
    const claiming = left.filter((one) => one.federated !== null && !outcomes.has(one))
    await settleHeld(
      db,
      claiming.map((one) => ({ one, isClaim: true })),
      outcomes,
    )
    if (!left.some((one) => outcomes.has(one))) await refuse(db, tokenId, left, outcomes)
    left = left.filter((one) => !outcomes.has(one))
  }
}

/** Those of the registrations whose token already has one with their idempotency key. */
async function withKnownKey(
  db: DynamoDbConnection,
  registrations: readonly NewRegistration[],
): Promise<NewRegistration[]> {
  const keyed = registrations.flatMap((one) =>
    one.idempotency === null ? [] : { one, key: idempotencyKey(one.tokenId, one.idempotency.keyHash) },
  )
  const known = new Set((await db.getAll(keyed.map(({ key }) => key))).map(({ pk }) => pk))
  return keyed.filter(({ key }) => known.has(key.pk)).map(({ one }) => one)
}

/** Writes the registrations of one reservation. The use of a duplicate is refunded in the same transaction. */
async function beginChunk(
  db: DynamoDbConnection,
  chunk: readonly NewRegistration[],
  reserved: Reservation,
  lease: Lease,
  outcomes: Outcomes,
): Promise<void> {
  for (let left = chunk; ; left = left.filter((one) => !outcomes.has(one))) {
    const begun = left.flatMap((one) => beginWrites(one, lease))
    const unused = chunk.length - left.length
    const unmet = await db.transact([
      ...begun.map(({ write }) => write),
      takeReservation(reserved, left),
      ...(unused === 0 ? [] : [refund(reserved.tokenId, unused)]),
    ])
    if (unmet.length === 0) return settle(left, { outcome: 'begun' }, outcomes)
    // The lease expired, and another process refunded the reservation: none was begun, a retry may begin.
    if (unmet.includes(begun.length)) return settle(left, { outcome: 'duplicate' }, outcomes)
    await settleHeld(
      db,
      unmet.flatMap((place) => begun[place] ?? []),
      outcomes,
    )
  }
}

/**
 * Settles those whose write was not made because another registration holds the same. One whose claims were given back meanwhile
 * is left to be tried again.
 */
async function settleHeld(
  db: DynamoDbConnection,
  unmet: readonly Pick<BeginWrite, 'one' | 'isClaim'>[],
  outcomes: Outcomes,
): Promise<void> {
  const byOne = [...Map.groupBy(unmet, ({ one }) => one)]
  await db.each(byOne, async ([one, own]) => {
    const isDuplicate = own.some(({ isClaim }) => !isClaim)
    const outcome: BeginOutcome | undefined = isDuplicate
      ? { outcome: 'duplicate' }
      : await findHolder(db, one)
    if (outcome !== undefined) outcomes.set(one, outcome)
  })
}

/** Settles those of `registrations` that the token does not allow. */
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
