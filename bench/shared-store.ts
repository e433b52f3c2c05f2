import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DynamoDBClient, TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb'
import { defaultGatewayOptions } from '../src/local/options.ts'
import { createTable } from '../src/store/dynamodb/create-table.ts'
import { startDynamoDbLocal } from '../test/dynamodb-local/dynamodb-local.ts'

/** A new, empty store for any number of processes. */
export interface SharedStore {
  /** The variables that name it to the service. */
  readonly settings: Readonly<Record<string, string>>
  /** Deletes it. */
  remove(): Promise<void>
}

export const sharedStores = { sqlite: sqliteFile, dynamodb: dynamoDbTable }
export type StoreKind = keyof typeof sharedStores

export const isStoreKind = (text: string): text is StoreKind => Object.hasOwn(sharedStores, text)

async function sqliteFile(): Promise<SharedStore> {
  const dir = mkdtempSync(join(tmpdir(), 'firstkey-bench-store-'))
  return {
    settings: { STORE: `sqlite:${join(dir, 'firstkey.db')}` },
    remove: async () => rmSync(dir, { recursive: true, force: true }),
  }
}

/** Transactions before the first that counts: DynamoDB itself has been running for years, its stand-in for a second. */
const WARM_UP_TRANSACTIONS = 60

async function warmUp(client: DynamoDBClient): Promise<void> {
  await createTable(client, 'warm-up')
  for (let i = 0; i < WARM_UP_TRANSACTIONS; i++) {
    const TransactItems = Array.from({ length: 50 }, (_, n) => ({
      Put: {
        TableName: 'warm-up',
        Item: { pk: { S: `${i}-${n}` }, sk: { S: '-' }, work: { S: 'w' }, workAt: { N: '1' } },
      },
    }))
    await client.send(new TransactWriteItemsCommand({ TransactItems }))
  }
}

async function dynamoDbTable(): Promise<SharedStore> {
  const local = await startDynamoDbLocal({ forLoad: true })
  const { region, accessKeyId, secretAccessKey } = defaultGatewayOptions
  const credentials = { accessKeyId, secretAccessKey }
  const client = new DynamoDBClient({ region, endpoint: local.endpoint, credentials })
  const table = 'firstkey'
  try {
    await createTable(client, table)
    await warmUp(client)
  } catch (error) {
    await local.stop()
    throw error
  } finally {
    client.destroy()
  }
  return {
    settings: { STORE: `dynamodb:${table}`, AWS_ENDPOINT_URL_DYNAMODB: local.endpoint },
    remove: () => local.stop(),
  }
}
