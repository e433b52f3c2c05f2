import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable } from '../../support/dynamodb/new-table.ts'

test('the clock is compared with the date of every answer of DynamoDB', async (t) => {
  const table = await newTable()
  const at = Date.UTC(2031, 4, 5)
  const { endpoint } = await startFaultyProxy(t, table.endpoint, () => at)
  const dates: (string | undefined)[] = []
  const store = await openDynamoDbStore({ ...table, endpoint, observeDate: (date) => void dates.push(date) })
  t.after(() => store.close())
  await store.ping()
  assert.ok(dates.length >= 2)
  assert.deepEqual([...new Set(dates)], [new Date(at).toUTCString()])
})
