import { randomUUID } from 'node:crypto'
import { ServiceError } from '../errors.ts'
import { dynamoDbAudit } from './dynamodb/audit.ts'
import { connect, type DynamoDbOptions } from './dynamodb/connection.ts'
import { createTable } from './dynamodb/create-table.ts'
import { put } from './dynamodb/expressions.ts'
import { dynamoDbFederation } from './dynamodb/federation.ts'
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
import { dynamoDbPool } from './dynamodb/pool.ts'
import { type Recovery, turnOnExpiry, turnOnRecovery } from './dynamodb/protect-table.ts'
import { readOne, readRotations } from './dynamodb/reads.ts'
import { explain, requireTable } from './dynamodb/require-table.ts'
import { dynamoDbRestores, noteTable } from './dynamodb/restores.ts'
import { ensureStoreId } from './dynamodb/store-id.ts'
import { dynamoDbSuspensions } from './dynamodb/suspensions.ts'
import { dynamoDbUpkeep } from './dynamodb/upkeep.ts'
import type { Store } from './store.ts'

/** Seconds after which DynamoDB removes the count of a minute. */
const REQUESTS_TTL_S = 3_600

/** The settings of a table, after {@link initTable}. */
export interface TableSettings {
  /** The table was created now. */
  readonly made: boolean
  /** Expiry of items was turned on now; it is on. */
  readonly expiryTurnedOn: boolean
  readonly recovery: Recovery
  readonly isOnDemand: boolean
  readonly isProtected: boolean
}

/**
 * Creates the table, unless one exists that can be the store, and turns on what protects it. Can be repeated.
 * @throws Error with the reason and the remedy if that fails
 */
export async function initTable(options: DynamoDbOptions): Promise<TableSettings> {
  const { client } = connect(options)
  const { table } = options
  try {
    const made = await createTable(client, table)
    const { BillingModeSummary, DeletionProtectionEnabled } = await requireTable(client, options)
    return {
      made,
      recovery: await turnOnRecovery(client, table),
      expiryTurnedOn: await turnOnExpiry(client, table),
      isOnDemand: BillingModeSummary?.BillingMode === 'PAY_PER_REQUEST',
      isProtected: DeletionProtectionEnabled === true,
    }
  } catch (error) {
    throw explain(error, options)
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
      await noteTable(db, table)
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
  const restores = dynamoDbRestores(db)
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

    ...dynamoDbFederation(db, audit),
    ...dynamoDbMinting(db, audit),
    ...dynamoDbOwners(db, audit),
    ...dynamoDbSuspensions(db, audit),
    ...dynamoDbOperators(db, audit),
    ...dynamoDbUpkeep(db, audit),
    ...dynamoDbPool(db, audit, restores.findRestore),
    ...restores,
    ...audit.trail,

    async ping() {
      await db.write(put({ ...keyOf('ping'), at: Date.now() }, 'any'))
    },
    async close() {
      db.client.destroy()
    },
  }
}
