import { startFaultyProxy } from '../support/dynamodb/faulty-proxy.ts'
import { newTable, storeEnv } from '../support/dynamodb/new-table.ts'
import { federatedCases } from '../support/identity/federated-cases.ts'

federatedCases('DynamoDB', async (t, clock) => {
  const table = await newTable()
  // The service compares its clock with the dates of its answers, which are cut to whole seconds.
  const { endpoint } = await startFaultyProxy(t, table.endpoint, clock && (() => clock() + 1_000))
  return storeEnv({ ...table, endpoint })
})
