// `npm test` runs this file too; without a built dynoxide it skips the contract.
import { after, type TestContext, test } from 'node:test'
import type { DynamoDbOptions } from '../../../src/store/dynamodb/connection.ts'
import { openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import type { Store } from '../../../src/store/store.ts'
import { findDynoxide } from '../../support/dynamodb/binary.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable } from '../../support/dynamodb/new-table.ts'
import { startDynoxide } from '../../support/dynamodb/server.ts'
import { dynamoDbEndpoint, useDynamoDbAt } from '../../support/dynamodb/test-env.ts'
import { contract } from '../contract.ts'
import { poolContract } from '../pool-contract.ts'
import { type LockableStore, readsContract } from '../reads-contract.ts'

if (dynamoDbEndpoint() === undefined) await startIfInstalled()

if (dynamoDbEndpoint() === undefined) {
  test('DynamoDB: the store contract', {
    skip: 'dynoxide is missing; npm run test:dynamodb builds it and runs these tests',
  })
} else {
  contract('DynamoDB', open)
  readsContract('DynamoDB', openLockable)
  poolContract('DynamoDB', async (t) => {
    const options = await newTable()
    return [await openOn(t, options), await openOn(t, options)]
  })
}

async function startIfInstalled(): Promise<void> {
  const command = await findDynoxide()
  if (command === undefined) return
  const server = await startDynoxide(command)
  after(() => server.stop())
  useDynamoDbAt(server.endpoint)
}

async function open(t: TestContext): Promise<Store> {
  return openOn(t, await newTable())
}

async function openOn(t: TestContext, options: DynamoDbOptions): Promise<Store> {
  const store = await openDynamoDbStore(options)
  t.after(() => store.close())
  return store
}

async function openLockable(t: TestContext): Promise<LockableStore> {
  const options = await newTable()
  const proxy = await startFaultyProxy(t, options.endpoint)
  const store = await openOn(t, { ...options, endpoint: proxy.endpoint })
  return {
    store,
    forbidWrites() {
      for (const operation of ['TransactWriteItems', 'PutItem', 'UpdateItem', 'DeleteItem', 'BatchWriteItem'])
        proxy.order({ operation, kind: 'denied', times: Number.POSITIVE_INFINITY })
    },
  }
}
