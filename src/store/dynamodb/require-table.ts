import { DescribeTableCommand, type DynamoDBClient, type TableDescription } from '@aws-sdk/client-dynamodb'
import { credentialFault } from '../../aws/credentials.ts'
import type { DynamoDbOptions } from './connection.ts'
import type { TableIdentity } from './restores.ts'
import { shapeFaults } from './table.ts'

/**
 * Checks that the table can be the store.
 * @returns `undefined` for an endpoint that does not identify its tables
 * @throws Error with the reason and the remedy if it cannot
 */
export async function requireTable(
  client: DynamoDBClient,
  options: DynamoDbOptions,
): Promise<TableIdentity | undefined> {
  const { table, region } = options
  const found = await describe(client, options)
  const faults = shapeFaults(found)
  if (faults.length > 0) {
    throw new Error(
      `the table ${table} in ${region} does not have the keys and indexes of a firstkey store:\n` +
        `${faults.map((fault) => `  ${fault}`).join('\n')}\n` +
        '  Set STORE to another table, and create it with: firstkey store init',
    )
  }
  const { TableStatus: status, TableId: id, CreationDateTime: createdAt } = found
  if (status !== 'ACTIVE' && status !== 'UPDATING')
    throw new Error(`the table ${table} in ${region} is ${status}: try again when it is ACTIVE`)
  return id === undefined || createdAt === undefined ? undefined : { id, createdAt: createdAt.getTime() }
}

async function describe(client: DynamoDBClient, options: DynamoDbOptions): Promise<TableDescription> {
  try {
    return (await client.send(new DescribeTableCommand({ TableName: options.table }))).Table ?? {}
  } catch (error) {
    throw explain(error, options)
  }
}

/** Translates an SDK error about a table into the reason and the remedy, for the operator. */
export function explain(error: unknown, { table, region, endpoint }: DynamoDbOptions): Error {
  const where = `${table} in ${region}${endpoint === undefined ? '' : ` (${endpoint})`}`
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: String(error) }
  if (name === 'ResourceNotFoundException') {
    return new Error(
      `there is no table ${where}: check AWS_REGION and STORE, or create it with: firstkey store init`,
      { cause: error },
    )
  }
  const isCredentialFault = error instanceof Error && credentialFault(error) !== undefined
  if (isCredentialFault || name === 'AccessDeniedException') {
    return new Error(
      `DynamoDB denies access to the table ${where}: ${name}: ${message}\n` +
        '  Check the AWS credentials and their policy; the policy that firstkey needs is in docs/scaling.md.',
      { cause: error },
    )
  }
  return new Error(`the table ${where} cannot be used: ${name}: ${message}`, { cause: error })
}
