import { setTimeout as sleep } from 'node:timers/promises'
import {
  CreateTableCommand,
  type DynamoDBClient,
  UpdateContinuousBackupsCommand,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import { TTL_ATTRIBUTE, tableDefinition } from './table.ts'

/** The longest wait until a new table is active, and until its recovery can be turned on (s); the pause in between (ms). */
const LONGEST_WAIT_S = 300
const RECOVERY_PAUSE_MS = 5_000

/**
 * Creates the table and waits until it is active.
 * @returns `false`: a table with this name exists
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
 * Turns on expiry and point-in-time recovery, which CreateTable cannot. Can be repeated.
 * @returns `false`: the endpoint does not support point-in-time recovery, like the tests' stand-in dynoxide
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
      // Backups are not available at once after a table was created.
      const isEarly = nameOf(error) === 'ContinuousBackupsUnavailableException'
      if (!isEarly || performance.now() > giveUpAt) throw error
      await sleep(RECOVERY_PAUSE_MS)
    }
  }
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : ''
}
