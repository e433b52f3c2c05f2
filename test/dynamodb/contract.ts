import type { TestContext } from 'node:test'
import { openDynamoDbStore } from '../../src/store/dynamodb.ts'
import type { Store } from '../../src/store/store.ts'
import { startFaultyProxy } from '../dynamodb-local/faulty-proxy.ts'
import { newTable } from '../dynamodb-local/new-table.ts'
import { contract } from '../store/contract.ts'
import { readsContract } from '../store/reads-contract.ts'

async function open(t: TestContext): Promise<Store> {
  const store = await openDynamoDbStore(await newTable())
  t.after(() => store.close())
  return store
}

contract('DynamoDB', open)

readsContract('DynamoDB', async (t) => {
  const options = await newTable()
  const proxy = await startFaultyProxy(t, options.endpoint)
  const store = await openDynamoDbStore({ ...options, endpoint: proxy.endpoint })
  t.after(() => store.close())
  return {
    store,
    forbidWrites() {
      for (const operation of ['TransactWriteItems', 'PutItem', 'UpdateItem', 'DeleteItem', 'BatchWriteItem'])
        proxy.order({ operation, kind: 'denied', times: Number.POSITIVE_INFINITY })
    },
  }
})
