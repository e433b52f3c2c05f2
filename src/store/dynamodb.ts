import { randomUUID } from 'node:crypto'
import { tokenEntry } from './audit.ts'
import { dynamoDbAudit } from './dynamodb/audit.ts'
import { beginRegistrations } from './dynamodb/begin.ts'
import { connect, type DynamoDbOptions } from './dynamodb/connection.ts'
import { createTable, protectTable } from './dynamodb/create-table.ts'
import { dynamoDbEndings } from './dynamodb/endings.ts'
import { dynamoDbFinish } from './dynamodb/finish.ts'
import { idempotencyKey, keyOf, managerOf, readToken, secretKey, toTokenItem } from './dynamodb/items.ts'
import { dynamoDbLeases, forgetOfToken } from './dynamodb/leases.ts'
import { dynamoDbListing } from './dynamodb/listing.ts'
import { readOne } from './dynamodb/reads.ts'
import { explain, requireTable } from './dynamodb/require-table.ts'
import { dynamoDbUndoing } from './dynamodb/undo.ts'
import { put, update } from './dynamodb/writes.ts'
import type { BootstrapToken } from './records.ts'
import type { Store } from './store.ts'

/** Seconds after which the count of a minute goes by itself. */
const REQUESTS_TTL_S = 3_600

/**
 * Makes the table, unless there is one that can be the store, and protects it. Can be repeated.
 * @returns whether it was made now, and whether it has point-in-time recovery
 * @throws Error that says why it could not be, and what would mend it
 */
export async function initTable(options: DynamoDbOptions): Promise<{ made: boolean; recovery: boolean }> {
  const { client } = connect(options)
  const orExplain = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      throw explain(error, options)
    }
  }
  try {
    const made = await orExplain(createTable(client, options.table))
    await requireTable(client, options)
    return { made, recovery: await orExplain(protectTable(client, options.table)) }
  } finally {
    client.destroy()
  }
}

/**
 * The store for any number of processes on any number of machines: one table of DynamoDB (see `dynamodb/table.ts`). What
 * must be atomic is one transaction, whose conditions close the races; what a decision hangs on is read consistently.
 * @throws Error that says why the table cannot be used, and what would mend it
 */
export async function openDynamoDbStore(options: DynamoDbOptions): Promise<Store> {
  const db = connect(options)
  try {
    await requireTable(db.client, options)
  } catch (error) {
    db.client.destroy()
    throw error
  }
  const audit = dynamoDbAudit(db, randomUUID().slice(0, 8))
  const getToken = async (id: string) => readToken(await db.get(keyOf(id)))

  return {
    async createToken(token, actor) {
      const secret = { ...secretKey(token.secretHash), tokenId: token.id }
      const entry = tokenEntry('token.created', token.id, token.createdAt, actor)
      const unmet = await db.transact([put(toTokenItem(token)), put(secret), audit.write(entry)])
      if (unmet.length > 0) throw new Error(`there is a token ${token.id} already`)
    },
    async findTokenByHash(secretHash) {
      const secret = await db.get(secretKey(secretHash))
      return secret && getToken(String(secret['tokenId']))
    },
    getToken,
    async listTokens() {
      const tokens: BootstrapToken[] = []
      const all = {
        index: 'listed',
        where: '#listed = :tokens',
        values: { ':tokens': 'tokens' },
        descending: true,
      } as const
      for await (const page of db.query(all)) {
        const items = await db.getAll(page.map(({ pk }) => keyOf(String(pk))))
        const read = new Map(items.map((item) => [item['pk'], readToken(item)]))
        tokens.push(...page.flatMap(({ pk }) => read.get(pk) ?? []))
      }
      return tokens
    },
    async revokeToken(id, actor, now) {
      const isUsable = { when: 'attribute_exists(#pk) AND attribute_not_exists(#revokedAt)' }
      await db.transact([
        update(keyOf(id), { set: { revokedAt: now } }, isUsable),
        audit.write(tokenEntry('token.revoked', id, now, actor)),
      ])
      await forgetOfToken(db, id)
      return getToken(id)
    },

    beginRegistrations: (registrations, lease) => beginRegistrations(db, registrations, lease),
    async findByIdempotencyKey(tokenId, keyHash) {
      const pointer = await db.get(idempotencyKey(tokenId, keyHash))
      const id = pointer?.['registrationId']
      const found = id === undefined ? undefined : await readOne(db, String(id))
      return found?.idempotency == null ? undefined : found
    },
    getRegistration: (id) => readOne(db, id),
    async findByManagementHash(hash) {
      const query = {
        index: 'manager',
        where: '#manager = :hash',
        values: { ':hash': managerOf(hash) },
      } as const
      for await (const [found] of db.query(query))
        if (found !== undefined) return readOne(db, String(found['pk']))
      return undefined
    },
    ...dynamoDbFinish(db, audit),
    ...dynamoDbUndoing(db, audit),
    ...dynamoDbLeases(db),
    ...dynamoDbEndings(db, audit),
    ...dynamoDbListing(db),
    ...audit.trail,

    async countRequest(tokenId, window) {
      return db.count(keyOf(`requests#${tokenId}#${window}`), Math.ceil(Date.now() / 1_000) + REQUESTS_TTL_S)
    },

    async ping() {
      await db.write(put({ ...keyOf('ping'), at: Date.now() }, 'any'))
    },
    async close() {
      db.client.destroy()
    },
  }
}
