import { DynamoDBClient, ScanCommand, type ScanCommandInput } from '@aws-sdk/client-dynamodb'
import { newTable, storeEnv } from '../support/dynamodb/new-table.ts'
import { refusesAttacks } from '../support/identity/attack-cases.ts'

refusesAttacks('DynamoDB', async () => {
  const table = await newTable()
  return {
    env: storeEnv(table),
    async dump() {
      const client = new DynamoDBClient({ region: table.region, endpoint: table.endpoint })
      let text = ''
      let from: ScanCommandInput['ExclusiveStartKey']
      do {
        const page = await client.send(new ScanCommand({ TableName: table.table, ExclusiveStartKey: from }))
        text += JSON.stringify(page.Items)
        from = page.LastEvaluatedKey
      } while (from !== undefined)
      client.destroy()
      return text
    },
  }
})
