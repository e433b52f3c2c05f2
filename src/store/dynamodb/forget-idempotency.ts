import { isUnanswered } from '../../registration/lifecycle.ts'
import type { MintingStore } from '../minting.ts'
import { sameAnswered, sameStatus } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { remove, update } from './expressions.ts'
import {
  FORGOTTEN,
  idempotencyKey,
  keyOf,
  openAt,
  readPointer,
  type StoredRegistration,
} from './item-codec.ts'
import { readDue, readOne } from './reads.ts'

/** Idempotency keys that are forgotten before more are looked up. */
const ROUND = 1_000

/** {@link MintingStore.forgetIdempotency} */
export function dynamoDbForgetting(db: DynamoDbConnection): Pick<MintingStore, 'forgetIdempotency'> {
  return {
    async forgetIdempotency(createdBefore) {
      for (;;) {
        const old = await readDue(db, 'remembered', { to: createdBefore, limit: ROUND, bound: 'before' })
        await db.each(old, (pointer) => forget(db, pointer))
        if (old.length < ROUND) return
      }
    },
  }
}

/** Forgets the idempotency keys of a token's registrations, but not those of rotations. */
export async function forgetOfToken(db: DynamoDbConnection, tokenId: string): Promise<void> {
  const all = await readDue(db, 'remembered', {
    to: Number.MAX_SAFE_INTEGER,
    limit: Number.POSITIVE_INFINITY,
  })
  const own = all.filter((pointer) => pointer.startsWith(`idem#${tokenId}#`))
  await db.each(own, (pointer) => forget(db, pointer, ({ rotation }) => rotation === null))
}

/** Forgets one idempotency key and what is sealed for it. An unanswered registration is then open to recovery. */
async function forget(
  db: DynamoDbConnection,
  pointer: string,
  isWanted: (one: StoredRegistration) => boolean = () => true,
): Promise<void> {
  const item = await db.get(keyOf(pointer))
  if (item === undefined) return
  const id = readPointer(item)
  for (;;) {
    const one = await readOne(db, id)
    if (one === undefined || !isWanted(one)) return
    const set = { ...FORGOTTEN, ...(isUnanswered(one) ? openAt(one.id, one.createdAt) : {}) }
    const writes = [
      remove(keyOf(pointer), { when: '#registrationId = :id', values: { id } }),
      ...(isPointerOf(pointer, one) ? [update(keyOf(id), { set }, sameStatus(one), sameAnswered(one))] : []),
    ]
    const unmet = await db.transact(writes)
    if (unmet.length === 0 || unmet.includes(0)) return
  }
}

function isPointerOf(pointer: string, { tokenId, idempotency }: StoredRegistration): boolean {
  return idempotency !== null && idempotencyKey(tokenId, idempotency.keyHash).pk === pointer
}
