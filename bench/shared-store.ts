import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { defaultGatewayOptions } from '../emulator/options.ts'
import { createTable } from '../src/store/dynamodb/create-table.ts'
import { findOrBuildDynoxide } from '../test/support/dynamodb/binary.ts'
import { startDynoxide } from '../test/support/dynamodb/server.ts'

/** A new, empty store that several processes can share. */
export interface SharedStore {
  /** The environment variables that configure the service for it. */
  readonly settings: Readonly<Record<string, string>>
  /** Deletes the store. */
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

async function dynamoDbTable(): Promise<SharedStore> {
  const server = await startDynoxide(await findOrBuildDynoxide())
  const { region, accessKeyId, secretAccessKey } = defaultGatewayOptions
  const credentials = { accessKeyId, secretAccessKey }
  const client = new DynamoDBClient({ region, endpoint: server.endpoint, credentials })
  const table = 'firstkey'
  try {
    await createTable(client, table)
  } catch (error) {
    await server.stop()
    throw error
  } finally {
    client.destroy()
  }
  return {
    settings: { STORE: `dynamodb:${table}`, AWS_ENDPOINT_URL_DYNAMODB: server.endpoint },
    remove: () => server.stop(),
  }
}
