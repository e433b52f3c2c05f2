import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { connect, type DynamoDbOptions } from '../../../src/store/dynamodb/connection.ts'
import { createTable } from '../../../src/store/dynamodb/create-table.ts'
import { dynamoDbEndpoint } from './test-env.ts'

/** Creates a table of its own for a test, on the stand-in for DynamoDB that the tests run on. */
export async function newTable(): Promise<DynamoDbOptions & { readonly endpoint: string }> {
  const endpoint = dynamoDbEndpoint()
  assert.ok(endpoint, 'run this with: npm run test:dynamodb')
  const options = { table: `test-${randomUUID()}`, region: 'eu-west-1', endpoint }
  const { client } = connect(options)
  await createTable(client, options.table)
  client.destroy()
  return options
}

/** The variables that point a server at a table. Its credentials are those of the local API Gateway. */
export function storeEnv({ table, endpoint }: { table: string; endpoint: string }): Record<string, string> {
  return { STORE: `dynamodb:${table}`, AWS_ENDPOINT_URL_DYNAMODB: endpoint }
}
