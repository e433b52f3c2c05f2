import { z } from 'zod'
import { parseRecord } from '../parse-record.ts'
import { POOL_KEY_STATES, type PoolHolder, type PoolKey } from '../pool.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Item, type Key, put, remove, type Write } from './expressions.ts'
import { keyOf, shardOf, shards } from './item-codec.ts'
import { transactInChunks } from './transact-in-chunks.ts'

/** Seconds after which DynamoDB removes a holder that does not renew its time. */
const HOLDER_TTL_S = 86_400
const HOLDERS = 'poolholders'

const partitionOf = (shard: number) => `pool#${shard}`
/** The key of the item of a pool key. All are in few partitions, so that a query lists them consistently. */
export const poolKey = (id: string): Key => ({ pk: partitionOf(shardOf(id)), sk: id })
/** The key of the item of a holder. There are few: one partition is enough. */
export const poolHolderKey = (owner: string): Key => ({ pk: HOLDERS, sk: owner })
/** The key of the item that counts how often keys were added to the pool of a plan. */
export const poolFillKey = (plan: string): Key => keyOf(`poolfill#${plan}`)

const poolKeyItem = z.object({
  sk: z.string(),
  plan: z.string(),
  usagePlanId: z.string(),
  state: z.enum(POOL_KEY_STATES),
  apiKeyId: z.string().optional(),
  holder: z.string().optional(),
  seenWorking: z.boolean(),
  createdAt: z.number(),
  changedAt: z.number(),
})
const poolHolderItem = z.object({
  sk: z.string(),
  until: z.number(),
  sizes: z.record(z.string(), z.number()),
  trouble: z.string().optional(),
})
const poolFillItem = z.object({ fills: z.number() })

/** A pool key as an item. */
export function toPoolKeyItem({ id, apiKeyId, holder, ...fields }: PoolKey): Item & Key {
  return {
    ...poolKey(id),
    ...fields,
    ...(apiKeyId === null ? {} : { apiKeyId }),
    ...(holder === null ? {} : { holder }),
  }
}

/** An item as a pool key, validated. */
export function readPoolKey(item: Item): PoolKey {
  const { sk, apiKeyId, holder, ...fields } = parseRecord(poolKeyItem, item, `pool key ${item['sk']}`)
  return { id: sk, ...fields, apiKeyId: apiKeyId ?? null, holder: holder ?? null }
}

/** Writes the item of a holder, which renews it. */
export function writePoolHolder({ owner, until, sizes, trouble }: PoolHolder): Write {
  const ttl = Math.ceil(until / 1_000) + HOLDER_TTL_S
  const item = { ...poolHolderKey(owner), until, sizes, ttl }
  return put(trouble === null ? item : { ...item, trouble }, 'any')
}

/** An item as a holder, validated. */
export function readPoolHolder(item: Item): PoolHolder {
  const { sk, until, sizes, trouble } = parseRecord(poolHolderItem, item, `holder of the pool ${item['sk']}`)
  return { owner: sk, until, sizes, trouble: trouble ?? null }
}

/** How often keys were added to the pool of a plan; `undefined`: never. */
export function readPoolFills(item: Item | undefined): number | undefined {
  return item && parseRecord(poolFillItem, item, `${item['pk']}`).fills
}

/** All pool keys, also those of a backup from which the table was restored. Oldest first, then by id. */
export async function readPoolKeys(db: DynamoDbConnection): Promise<PoolKey[]> {
  const found = await Promise.all(shards.map((shard) => readPartition(db, partitionOf(shard))))
  return found
    .flat()
    .map(readPoolKey)
    .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
}

/** All holders, ordered by owner. */
export async function readPoolHolders(db: DynamoDbConnection): Promise<PoolHolder[]> {
  return (await readPartition(db, HOLDERS)).map(readPoolHolder)
}

async function readPartition(db: DynamoDbConnection, pk: string): Promise<Item[]> {
  const items: Item[] = []
  for await (const page of db.query({ where: '#pk = :pk', values: { ':pk': pk } })) items.push(...page)
  return items
}

/** Removes the pool keys that were recorded at `asOf` or earlier. */
export async function removePoolKeysUntil(db: DynamoDbConnection, asOf: number): Promise<void> {
  const old = (await readPoolKeys(db)).filter(({ createdAt }) => createdAt <= asOf)
  const { errors } = await transactInChunks(db, old, ({ id }) => [remove(poolKey(id))])
  if (errors.length > 0) throw errors[0]
}
