import { test } from 'node:test'
import { openDynamoDbStore } from '../../src/store/dynamodb.ts'
import { newTable, storeEnv } from '../support/dynamodb/new-table.ts'
import { checkModel } from '../support/model.ts'

test('DynamoDB: the invariants hold after every random sequence of actions (MODEL_RUNS and MODEL_SEED run others)', () =>
  checkModel(
    {
      numRuns: Number(process.env['MODEL_RUNS'] ?? 8),
      seed: Number(process.env['MODEL_SEED'] ?? 20_261_124),
    },
    async () => {
      const table = await newTable()
      return { store: await openDynamoDbStore(table), env: storeEnv(table) }
    },
  ))
