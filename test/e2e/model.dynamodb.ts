import { test } from 'node:test'
import { openDynamoDbStore } from '../../src/store/dynamodb.ts'
import { startFaultyProxy } from '../support/dynamodb/faulty-proxy.ts'
import { newTable, storeEnv } from '../support/dynamodb/new-table.ts'
import { checkModel } from '../support/model.ts'

test('DynamoDB: the invariants hold after every random sequence of actions (MODEL_RUNS and MODEL_SEED run others)', (t) =>
  checkModel(
    {
      numRuns: Number(process.env['MODEL_RUNS'] ?? 8),
      seed: Number(process.env['MODEL_SEED'] ?? 20_261_124),
    },
    async (_dir, clock) => {
      const table = await newTable()
      // The server compares its clock with the dates of its answers.
      const { endpoint } = await startFaultyProxy(t, table.endpoint, clock)
      return { store: await openDynamoDbStore(table), env: storeEnv({ ...table, endpoint }) }
    },
  ))
