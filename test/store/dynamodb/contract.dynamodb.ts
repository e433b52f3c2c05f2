import type { TestContext } from 'node:test'
import type { DynamoDbOptions } from '../../../src/store/dynamodb/connection.ts'
import { openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import type { Store } from '../../../src/store/store.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable } from '../../support/dynamodb/new-table.ts'
import { contract } from '../contract.ts'
import { poolContract } from '../pool-contract.ts'
import { type LockableStore, readsContract } from '../reads-contract.ts'

contract('DynamoDB', open)
readsContract('DynamoDB', openLockable)
poolContract('DynamoDB', async (t) => {
  const options = await newTable()
  return [await openOn(t, options), await openOn(t, options)]
})

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
