import { setTimeout as sleep } from 'node:timers/promises'
import {
  DescribeContinuousBackupsCommand,
  DescribeTimeToLiveCommand,
  type DynamoDBClient,
  UpdateContinuousBackupsCommand,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb'
import { TableError } from './require-table.ts'
import { TTL_ATTRIBUTE } from './table.ts'

/** The longest wait until recovery can be turned on for a new table (s), and the pause in between (ms). */
const LONGEST_WAIT_S = 300
const RECOVERY_PAUSE_MS = 5_000

/**
 * Turns on expiry by {@link TTL_ATTRIBUTE}. Looks at the present state first: DynamoDB takes one change of it an hour, and a
 * request for what is already so counts as a change.
 * @returns `false`: it was on
 * @throws TableError if it expires items by another attribute, or was changed within the hour; the SDK's errors
 */
export async function turnOnExpiry(client: DynamoDBClient, TableName: string): Promise<boolean> {
  const { TimeToLiveDescription } = await client.send(new DescribeTimeToLiveCommand({ TableName }))
  const { TimeToLiveStatus: status, AttributeName: attribute } = TimeToLiveDescription ?? {}
  if (status === 'DISABLING')
    throw new TableError(
      `the expiry of items of ${TableName} is being turned off, which takes up to an hour: run the same command again afterwards`,
    )
  if (status === 'ENABLED' || status === 'ENABLING') {
    if (attribute === TTL_ATTRIBUTE) return false
    throw new TableError(
      `${TableName} expires its items by the attribute ${attribute} and not by ${TTL_ATTRIBUTE}. Turn that off, and run the same ` +
        `command again an hour later:\n  aws dynamodb update-time-to-live --table-name ${TableName} ` +
        `--time-to-live-specification Enabled=false,AttributeName=${attribute}`,
    )
  }
  try {
    const TimeToLiveSpecification = { AttributeName: TTL_ATTRIBUTE, Enabled: true }
    await client.send(new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification }))
    return true
  } catch (error) {
    const message = error instanceof Error ? error.message : ''
    // Another process turned it on meanwhile.
    if (/already enabled/i.test(message)) return false
    if (!/modified multiple times/i.test(message)) throw error
    throw new TableError(
      `the expiry of items of ${TableName} is off, and was changed within the last hour, in which DynamoDB takes no other ` +
        'change: run the same command again in an hour. Until then expired items stay',
      { cause: error },
    )
  }
}

/** The state of point-in-time recovery. `unsupported`: the endpoint does not have it, like the tests' stand-in dynoxide. */
export type Recovery = 'on' | 'turned on' | 'unsupported'

/** Turns on point-in-time recovery, unless it is on. @throws the SDK's errors */
export async function turnOnRecovery(client: DynamoDBClient, TableName: string): Promise<Recovery> {
  const PointInTimeRecoverySpecification = { PointInTimeRecoveryEnabled: true }
  try {
    const { ContinuousBackupsDescription: found } = await client.send(
      new DescribeContinuousBackupsCommand({ TableName }),
    )
    if (found?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus === 'ENABLED') return 'on'
    for (const giveUpAt = performance.now() + LONGEST_WAIT_S * 1_000; ; ) {
      try {
        await client.send(new UpdateContinuousBackupsCommand({ TableName, PointInTimeRecoverySpecification }))
        return 'turned on'
      } catch (error) {
        // Backups are not available at once after a table was created.
        const isEarly = nameOf(error) === 'ContinuousBackupsUnavailableException'
        if (!isEarly || performance.now() > giveUpAt) throw error
        await sleep(RECOVERY_PAUSE_MS)
      }
    }
  } catch (error) {
    if (nameOf(error) === 'UnknownOperationException') return 'unsupported'
    throw error
  }
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : ''
}
