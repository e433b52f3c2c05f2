import { setTimeout as sleep } from 'node:timers/promises'
import {
  CreateTableCommand,
  type DynamoDBClient,
  UpdateContinuousBackupsCommand,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import { TTL_ATTRIBUTE, tableDefinition } from './table.ts'

/** How long to wait until a new table can be used, and until its recovery can be turned on, in seconds. */
const LONGEST_WAIT_S = 300
const RECOVERY_PAUSE_MS = 5_000

/**
 * Makes the table and waits until it can be used. `false`: there is a table of this name already.
 * @throws the SDK's errors
 */
export async function createTable(client: DynamoDBClient, TableName: string): Promise<boolean> {
  try {
    await client.send(new CreateTableCommand(tableDefinition(TableName)))
  } catch (error) {
    if (nameOf(error) === 'ResourceInUseException') return false
    throw error
  }
  await waitUntilTableExists({ client, maxWaitTime: LONGEST_WAIT_S }, { TableName })
  return true
}

/**
 * Turns on what CreateTable does not: expiry, and point-in-time recovery. Can be repeated.
 * @returns whether there is recovery: DynamoDB Local has none
 * @throws the SDK's errors
 */
export async function protectTable(client: DynamoDBClient, TableName: string): Promise<boolean> {
  const TimeToLiveSpecification = { AttributeName: TTL_ATTRIBUTE, Enabled: true }
  try {
    await client.send(new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification }))
  } catch (error) {
    const isOn = error instanceof Error && /already enabled/i.test(error.message)
    if (!isOn) throw error
  }
  const PointInTimeRecoverySpecification = { PointInTimeRecoveryEnabled: true }
  const giveUpAt = performance.now() + LONGEST_WAIT_S * 1_000
  for (;;) {
    try {
      await client.send(new UpdateContinuousBackupsCommand({ TableName, PointInTimeRecoverySpecification }))
      return true
    } catch (error) {
      if (nameOf(error) === 'UnknownOperationException') return false
      // A table that was made a moment ago has no backups yet.
      const isEarly = nameOf(error) === 'ContinuousBackupsUnavailableException'
      if (!isEarly || performance.now() > giveUpAt) throw error
      await sleep(RECOVERY_PAUSE_MS)
    }
  }
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : ''
}
