import { DescribeTableCommand, type DynamoDBClient, type TableDescription } from '@aws-sdk/client-dynamodb'
import { credentialFault } from '../../aws/credentials.ts'
import type { DynamoDbOptions } from './connection.ts'
import { shapeFaults } from './table.ts'

/** Says why a table cannot be used or set up, with the remedy, for the operator. */
export class TableError extends Error {
  override readonly name = 'TableError'
}

const KEY_LOST =
  'because its KMS key cannot be used: enable the key; an archived table has to be restored from its backup'

/** The states in which a table cannot be used, and the remedy. */
const UNUSABLE: Readonly<Record<string, string>> = {
  CREATING: 'is being created: try again in a minute',
  DELETING:
    'is being deleted: wait until it is gone, then create it with firstkey store init, or set STORE to another table',
  INACCESSIBLE_ENCRYPTION_CREDENTIALS: `cannot be read, ${KEY_LOST}`,
  ARCHIVING: `is being archived, ${KEY_LOST}`,
  ARCHIVED: `is archived, ${KEY_LOST}`,
}

/** Checks that the table can be the store. @throws TableError if it cannot */
export async function requireTable(
  client: DynamoDBClient,
  options: DynamoDbOptions,
): Promise<TableDescription> {
  const { table, region } = options
  const found = await describe(client, options)
  const unusable = UNUSABLE[found.TableStatus ?? '']
  if (unusable !== undefined) throw new TableError(`the table ${table} in ${region} ${unusable}`)
  const faults = shapeFaults(found)
  if (faults.length > 0) {
    throw new TableError(
      `the table ${table} in ${region} does not have the keys and indexes of a firstkey store:\n` +
        `${faults.map((fault) => `  ${fault}`).join('\n')}\n` +
        '  Set STORE to another table, and create it with: firstkey store init',
    )
  }
  const unready = found.GlobalSecondaryIndexes?.find(({ IndexStatus }) =>
    /^(CREAT|DELET)ING$/.test(IndexStatus ?? ''),
  )
  if (unready !== undefined)
    throw new TableError(
      `the index "${unready.IndexName}" of the table ${table} in ${region} is ${unready.IndexStatus}: try again when it is ACTIVE`,
    )
  return found
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
  if (error instanceof TableError) return error
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: String(error) }
  if (name === 'ResourceNotFoundException') {
    return new TableError(
      `there is no table ${where}: check AWS_REGION and STORE, or create it with: firstkey store init`,
      { cause: error },
    )
  }
  const isCredentialFault = error instanceof Error && credentialFault(error) !== undefined
  if (isCredentialFault || name === 'AccessDeniedException') {
    return new TableError(
      `DynamoDB denies access to the table ${where}: ${name}: ${message}\n` +
        '  Check the AWS credentials and their policy; the policy that firstkey needs is in docs/scaling.md.',
      { cause: error },
    )
  }
  return new TableError(`the table ${where} cannot be used: ${name}: ${message}`, { cause: error })
}
