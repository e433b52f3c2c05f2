import {
  CreateTableCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import { tableDefinition } from './table.ts'

/** The longest wait until a new table is active, and the pauses in between (s). */
const WAIT = { maxWaitTime: 300, minDelay: 2, maxDelay: 10 }

/**
 * Creates the table, unless one with this name exists, and waits until it is active.
 * @returns `false`: a table with this name exists
 * @throws the SDK's errors
 */
export async function createTable(client: DynamoDBClient, TableName: string): Promise<boolean> {
  const status = await statusOf(client, TableName)
  const made = status === undefined && (await create(client, TableName))
  if (status === undefined || status === 'CREATING')
    await waitUntilTableExists({ client, ...WAIT }, { TableName })
  return made
}

/** Returns the status of a table; `undefined`: there is none. */
async function statusOf(client: DynamoDBClient, TableName: string): Promise<string | undefined> {
  try {
    return (await client.send(new DescribeTableCommand({ TableName }))).Table?.TableStatus
  } catch (error) {
    if (isNamed(error, 'ResourceNotFoundException')) return undefined
    throw error
  }
}

/** @returns `false`: another process was first */
async function create(client: DynamoDBClient, TableName: string): Promise<boolean> {
  try {
    await client.send(new CreateTableCommand(tableDefinition(TableName)))
    return true
  } catch (error) {
    if (isNamed(error, 'ResourceInUseException')) return false
    throw error
  }
}

function isNamed(error: unknown, name: string): boolean {
  return error instanceof Error && error.name === name
}
