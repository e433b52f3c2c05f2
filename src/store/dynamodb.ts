import { randomUUID } from 'node:crypto'
import { ServiceError } from '../errors.ts'
import { dynamoDbAudit } from './dynamodb/audit.ts'
import { connect, type DynamoDbOptions } from './dynamodb/connection.ts'
import { createTable, protectTable } from './dynamodb/create-table.ts'
import { put } from './dynamodb/expressions.ts'
import {
  keyOf,
  managerOf,
  readId,
  readSecret,
  readToken,
  secretKey,
  toRegistration,
} from './dynamodb/item-codec.ts'
import { dynamoDbMinting } from './dynamodb/minting.ts'
import { dynamoDbOperators } from './dynamodb/operators.ts'
import { dynamoDbOwners } from './dynamodb/owners.ts'
import { readOne, readRotations } from './dynamodb/reads.ts'
import { explain, requireTable } from './dynamodb/require-table.ts'
import { dynamoDbRestores, noteTable } from './dynamodb/restores.ts'
import { ensureStoreId } from './dynamodb/store-id.ts'
import { dynamoDbSuspensions } from './dynamodb/suspensions.ts'
import { dynamoDbUpkeep } from './dynamodb/upkeep.ts'
import type { Store } from './store.ts'

/** Seconds after which DynamoDB removes the count of a minute. */
const REQUESTS_TTL_S = 3_600

/**
 * Creates the table, unless one exists that can be the store, and protects it. Can be repeated.
 * @returns `made`: it was created now; `recovery`: it has point-in-time recovery
 * @throws Error with the reason and the remedy if that fails
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
 * Opens the store for any number of processes on any number of machines: one table of DynamoDB (see `dynamodb/table.ts`).
 * Each atomic step is one transaction, whose conditions close the races; records on which a decision depends are read
 * consistently.
 * @throws Error with the reason and the remedy if the table cannot be used
 */
export async function openDynamoDbStore(options: DynamoDbOptions): Promise<Store> {
  const db = connect(options)
  let id: string
  try {
    const table = await requireTable(db.client, options)
    const openMeta = async () => {
      const storeId = await ensureStoreId(db)
      if (table !== undefined) await noteTable(db, table)
      return storeId
    }
    id = await openMeta().catch((error: unknown) => {
      throw explain(error instanceof ServiceError ? error.cause : error, options)
    })
  } catch (error) {
    db.client.destroy()
    throw error
  }
  const audit = dynamoDbAudit(db, randomUUID().slice(0, 8))
  const getToken = async (id: string) => readToken(await db.get(keyOf(id)))
  const getRegistration = async (id: string) => {
    const one = await readOne(db, id)
    return one && toRegistration(one)
  }

  return {
    id,
    getToken,
    getRegistration,
    listRotations: async (id) => (await readRotations(db, id)).map(toRegistration),

    async findTokenByHash(secretHash) {
      const secret = await db.get(secretKey(secretHash))
      return secret && getToken(readSecret(secret))
    },
    async findByManagementHash(hash) {
      const query = {
        index: 'manager',
        where: '#manager = :hash',
        values: { ':hash': managerOf(hash) },
      } as const
      for await (const [found] of db.query(query))
        if (found !== undefined) return getRegistration(readId(found))
      return undefined
    },
    countRequest: (tokenId, window) =>
      db.count(keyOf(`requests#${tokenId}#${window}`), (window + 1) * 60 + REQUESTS_TTL_S),

    ...dynamoDbMinting(db, audit),
    ...dynamoDbOwners(db, audit),
    ...dynamoDbSuspensions(db, audit),
    ...dynamoDbOperators(db, audit),
    ...dynamoDbUpkeep(db, audit),
    ...dynamoDbRestores(db),
    ...audit.trail,

    async ping() {
      await db.write(put({ ...keyOf('ping'), at: Date.now() }, 'any'))
    },
    async close() {
      db.client.destroy()
    },
  }
}
