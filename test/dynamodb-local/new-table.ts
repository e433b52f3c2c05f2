import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { connect, type DynamoDbOptions } from '../../src/store/dynamodb/connection.ts'
import { createTable } from '../../src/store/dynamodb/create-table.ts'

/** A new table of the DynamoDB Local that `npm run test:dynamodb` starts. */
export async function newTable(): Promise<DynamoDbOptions & { readonly endpoint: string }> {
  const endpoint = process.env['DYNAMODB_LOCAL_ENDPOINT']
  assert.ok(endpoint, 'run this with: npm run test:dynamodb')
  const options = { table: `test-${randomUUID()}`, region: 'eu-west-1', endpoint }
  const { client } = connect(options)
  await createTable(client, options.table)
  client.destroy()
  return options
}

/** What points a server at a table. Its credentials are those of the local API Gateway. */
export function storeEnv({ table, endpoint }: { table: string; endpoint: string }): Record<string, string> {
  return { STORE: `dynamodb:${table}`, AWS_ENDPOINT_URL_DYNAMODB: endpoint }
}
