import type { TestContext } from 'node:test'
import { openDynamoDbStore } from '../../src/store/dynamodb.ts'
import type { Store } from '../../src/store/store.ts'
import { newTable } from '../dynamodb-local/new-table.ts'
import { auditContract } from '../store/audit-contract.ts'
import { lifeContract } from '../store/life-contract.ts'
import { storeContract } from '../store/store-contract.ts'

async function open(t: TestContext): Promise<Store> {
  const store = await openDynamoDbStore(await newTable())
  t.after(() => store.close())
  return store
}

storeContract('DynamoDB', open)
lifeContract('DynamoDB', open)
auditContract('DynamoDB', open)
