import { holdsUse, isUnanswered } from '../../registration/lifecycle.ts'
import type { RecordedEntry } from '../audit.ts'
import { KEPT_MS } from '../federation.ts'
import type { PoolKey } from '../pool.ts'
import type { AccessToken, BootstrapToken, Registration } from '../records.ts'
import { dynamoDbAudit } from './audit.ts'
import { linkOf } from './begin-rotation.ts'
import { pointerOf } from './begin-writes.ts'
import { chunk } from './chunk.ts'
import { claimedProof, heldName } from './claims.ts'
import type { DynamoDbConnection } from './connection.ts'
import { put, type Write } from './expressions.ts'
import { toAccessTokenItem } from './federation.ts'
import { secretKey, switchAt, toRestoredItem, toTokenItem } from './item-codec.ts'
import { toPoolKeyItem } from './pool-items.ts'
import { restoreStoreId } from './store-id.ts'
import { spendRecord } from './token-uses.ts'

/** Writes of one transaction: fewer than DynamoDB allows, because these need not be atomic together. */
const AT_ONCE = 50

/**
 * All records of a store, with its id, except leases, leader leases, holders of the pool and counts of requests, which expire.
 * Proofs are part of the records that claimed them.
 */
export interface Records {
  readonly storeId: string
  readonly tokens: readonly BootstrapToken[]
  readonly registrations: readonly Registration[]
  /** Those that are kept at `now`. */
  readonly accessTokens: readonly AccessToken[]
  readonly poolKeys: readonly PoolKey[]
  readonly audit: readonly RecordedEntry[]
  /** The time of the copy. */
  readonly now: number
}

/**
 * Writes all records, and overwrites existing items. Repeating it with the same records writes the same items.
 * @param progress receives the number of writes that are done, and of all writes
 */
export async function restore(
  db: DynamoDbConnection,
  { storeId, tokens, registrations, accessTokens, poolKeys, audit, now }: Records,
  progress: (done: number, all: number) => void,
): Promise<void> {
  const trail = dynamoDbAudit(db, '')
  const rotations = Map.groupBy(registrations, ({ rotation }) => rotation?.of)
  const writes = [
    restoreStoreId(storeId),
    ...tokens.flatMap(tokenWrites),
    ...registrations.flatMap((one) => registrationWrites(one, marksOf(rotations.get(one.id) ?? []), now)),
    ...accessTokens.flatMap(accessTokenWrites),
    ...poolKeys.map((key) => put(toPoolKeyItem(key), 'any')),
    ...audit.map(trail.restore),
  ]
  let done = 0
  await db.each(chunk(writes, AT_ONCE), async (some) => {
    await db.transact(some)
    done += some.length
    progress(done, writes.length)
  })
}

function tokenWrites(token: BootstrapToken): Write[] {
  const own = put(toTokenItem(token), 'any')
  if (token.federation !== null) return [own]
  return [own, put({ ...secretKey(token.secretHash), tokenId: token.id }, 'any')]
}

function accessTokenWrites(token: AccessToken): Write[] {
  const own = put(toAccessTokenItem(token), 'any')
  return token.proof === null ? [own] : [own, put(claimedProof(token.proof, null), 'any')]
}

/** A registration or rotation that has not failed holds its proof and, with its place, its name. */
function claims(one: Registration, now: number): Write[] {
  const { id, status, federated, holdsPlace } = one
  const proof = status === 'failed' ? null : (federated?.proof ?? null)
  return [
    ...(proof === null || proof.expiresAt <= now - KEPT_MS ? [] : [put(claimedProof(proof, id), 'any')]),
    ...(holdsPlace && federated?.holdsName ? [put(heldName(one), 'any')] : []),
  ]
}

type Marks = { readonly pendingRotation?: string; readonly unansweredRotation?: string }

/** The attributes by which the item of a registration refers to its rotations. */
function marksOf(rotations: readonly Registration[]): Marks {
  const pending = rotations.find(({ status }) => status === 'pending')
  const unanswered = rotations.find(isUnanswered)
  return {
    ...(pending === undefined ? {} : { pendingRotation: pending.id }),
    ...(unanswered === undefined ? {} : { unansweredRotation: unanswered.id }),
  }
}

function registrationWrites(one: Registration, marks: Marks, now: number): Write[] {
  const { id, idempotency, rotation } = one
  const writes = [put(toRestoredItem(one, marks), 'any'), ...claims(one, now)]
  if (idempotency !== null) {
    writes.push(put(pointerOf(one, idempotency.keyHash), 'any'))
  }
  if (one.switchAt !== null) writes.push(put(switchAt(id, one.switchAt), 'any'))
  if (holdsUse(one)) writes.push(put(spendRecord(one.tokenId, [one]), 'any'))
  if (rotation !== null) {
    writes.push(put(linkOf(one, rotation.of), 'any'))
  }
  return writes
}
