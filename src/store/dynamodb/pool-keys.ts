import { hasCome } from '../../registration/lifecycle.ts'
import type { PoolKey, PoolStore } from '../pool.ts'
import { MAX_WRITES } from './chunk.ts'
import { leaseIsOver } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, check, put, remove, update, type Write } from './expressions.ts'
import {
  poolFillKey,
  poolHolderKey,
  poolKey,
  readPoolFills,
  readPoolHolder,
  readPoolHolders,
  readPoolKey,
  readPoolKeys,
  toPoolKeyItem,
  writePoolHolder,
} from './pool-items.ts'
import { transactInChunks } from './transact-in-chunks.ts'

/** The pool key is held by this owner. */
export const isHeldBy = (holder: string): Condition => ({ when: '#holder = :holder', values: { holder } })

const inState = (state: PoolKey['state']): Condition => ({ when: '#state = :state', values: { state } })
const NOT_DISCARDING: Condition = { when: '#state <> :discarding', values: { discarding: 'discarding' } }
const FREE = { holder: undefined }

/**
 * {@link PoolStore} on DynamoDB, without the handing out. Every change of a key is one write that its holder and its state guard:
 * of a holder whose time is over and the one that took its keys over, the second alone changes them.
 * @param findRestore as {@link RestoreStore.findRestore}. Of a table that was restored, no pool key of the backup is shown
 */
export function dynamoDbPoolKeys(
  db: DynamoDbConnection,
  findRestore: () => Promise<number | null>,
): Omit<PoolStore, 'handOutPoolKeys'> {
  const isKnown = async () => {
    const asOf = await findRestore()
    return ({ createdAt }: Pick<PoolKey, 'createdAt'>) => asOf === null || createdAt > asOf
  }

  async function listPoolKeys(): Promise<PoolKey[]> {
    const [known, all] = await Promise.all([isKnown(), readPoolKeys(db)])
    return all.filter(known)
  }

  return {
    async renewPoolHolder(holder) {
      await db.write(writePoolHolder(holder))
    },
    async releasePoolHolder(owner) {
      // First the holder: from here on others may take its keys, also if the rest fails.
      await db.write(remove(poolHolderKey(owner)))
      const own = (await readPoolKeys(db)).filter(({ holder }) => holder === owner)
      await changeAll(db, own, ({ id }) => update(poolKey(id), { set: FREE }, isHeldBy(owner)))
    },
    async listPoolHolders() {
      const [asOf, holders] = await Promise.all([findRestore(), readPoolHolders(db)])
      return holders.filter(({ until }) => asOf === null || until > asOf)
    },
    listPoolKeys,

    async beginPoolKeys(keys, owner, most) {
      const recorded = new Set<string>()
      const [{ plan } = { plan: '' }] = keys
      let left = keys
      while (left.length > 0) {
        const fills = readPoolFills(await db.get(poolFillKey(plan)))
        const room = most - (await listPoolKeys()).filter((one) => one.plan === plan).length
        const fitting = left.slice(0, Math.max(0, Math.min(room, MAX_WRITES - 1)))
        if (fitting.length === 0) break
        const puts = fitting.map((key) =>
          put(
            toPoolKeyItem({
              ...key,
              state: 'making',
              apiKeyId: null,
              holder: owner,
              seenWorking: false,
              changedAt: key.createdAt,
            }),
          ),
        )
        // Compare-and-swap: of two processes that fill the pool at once, the second finds that keys were added since it counted
        // them, and counts again. Keys that were removed meanwhile only make more room.
        const unmet = await db.transact([...puts, countFill(plan, fills)])
        if (unmet.some((place) => place < puts.length))
          throw new Error(`a pool key of the plan ${plan} exists already`)
        if (unmet.length > 0) continue
        for (const { id } of fitting) recorded.add(id)
        left = left.slice(fitting.length)
      }
      return recorded
    },

    async advancePoolKeys(changes, owner, now) {
      const moved = await change(db, changes, ({ id, to, apiKeyId, seenWorking }) => {
        const set = { state: to, apiKeyId, seenWorking, changedAt: now }
        const from: Condition[] =
          to === 'warming'
            ? [inState('making')]
            : [inState('warming'), { when: '#apiKeyId = :apiKeyId', values: { apiKeyId } }]
        return update(poolKey(id), { set }, isHeldBy(owner), ...from)
      })
      return new Set(moved.map(({ id }) => id))
    },
    async discardPoolKeys(ids, owner, now) {
      const set = { state: 'discarding', changedAt: now }
      return new Set(
        await change(db, ids, (id) => update(poolKey(id), { set }, isHeldBy(owner), NOT_DISCARDING)),
      )
    },
    async takePoolKeys(ids, owner, now) {
      const [known, items] = await Promise.all([isKnown(), db.getAll(ids.map(poolKey))])
      const keys = items.map(readPoolKey).filter(known)
      const holders = await db.getAll(
        keys.flatMap(({ holder }) => (holder === null ? [] : poolHolderKey(holder))),
      )
      const ends = new Map(holders.map(readPoolHolder).map((one) => [one.owner, one.until]))
      // A holder without an item was released, or its time was over long ago.
      const mayTake = ({ holder }: PoolKey) =>
        holder === null || holder === owner || hasCome(ends.get(holder) ?? 0, now)
      const taken: string[] = []
      const errors: unknown[] = []
      await db.each([...Map.groupBy(keys.filter(mayTake), ({ holder }) => holder)], async ([before, own]) => {
        const done = await transactInChunks(db, own, ({ id }) => [take(id, owner, before)], {
          // A holder that renews its time is committed before this, and keeps its keys, or after it, and has lost them.
          shared: () =>
            before === null || before === owner ? [] : [check(poolHolderKey(before), leaseIsOver(now))],
        })
        taken.push(...done.written.map(({ id }) => id))
        errors.push(...done.errors)
      })
      if (errors.length > 0 && taken.length === 0) throw errors[0]
      return new Set(taken)
    },
    async givePoolKeysUp(ids, owner) {
      await changeAll(db, ids, (id) => update(poolKey(id), { set: FREE }, isHeldBy(owner)))
    },
    async forgetPoolKeys(ids, owner) {
      await changeAll(db, ids, (id) => remove(poolKey(id), isHeldBy(owner), inState('discarding')))
    },
  }
}

/** Counts that keys were added to the pool of a plan, unless any were since it was read. */
function countFill(plan: string, seen: number | undefined): Write {
  const same: Condition =
    seen === undefined
      ? { when: 'attribute_not_exists(#fills)' }
      : { when: '#fills = :seen', values: { seen } }
  return update(poolFillKey(plan), { add: { fills: 1 } }, same)
}

/** Compare-and-swap: of two processes that take the same key, the second finds another holder than the one it read. */
function take(id: string, holder: string, before: string | null): Write {
  const same: Condition =
    before === null
      ? { when: 'attribute_exists(#pk) AND attribute_not_exists(#holder)' }
      : { when: '#holder = :before', values: { before } }
  return update(poolKey(id), { set: { holder } }, same)
}

/**
 * Makes one write for each item, many in one transaction.
 * @returns the items whose write was made; the others had an unmet condition, or failed
 * @throws the first error, if no write was made
 */
async function change<T>(
  db: DynamoDbConnection,
  items: readonly T[],
  writeOf: (item: T) => Write,
): Promise<T[]> {
  const { written, errors } = await transactInChunks(db, items, (item) => [writeOf(item)])
  if (errors.length > 0 && written.length === 0) throw errors[0]
  return written
}

/** As {@link change}. @throws the first error, if not every write was made or had an unmet condition */
async function changeAll<T>(
  db: DynamoDbConnection,
  items: readonly T[],
  writeOf: (item: T) => Write,
): Promise<void> {
  const { errors } = await transactInChunks(db, items, (item) => [writeOf(item)])
  if (errors.length > 0) throw errors[0]
}
