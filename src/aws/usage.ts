import { type APIGatewayClient, paginateGetUsage, UpdateUsageCommand } from '@aws-sdk/client-api-gateway'
import { DAY_MS, dateOf } from '../clock.ts'
import { type ChangeQueue, isConcurrentChange } from './change-queue.ts'
import { answeredError, toReadError, toServiceError } from './errors.ts'

export interface UsageQuery {
  readonly usagePlanId: string
  readonly keyId: string
  /** The first and the last day, `YYYY-MM-DD`, UTC. */
  readonly from: string
  readonly to: string
}

export interface UsageDay {
  /** `YYYY-MM-DD`, UTC. */
  readonly date: string
  /** The requests of the day. */
  readonly used: number
  /** The requests left in the plan's quota at the end of the day; meaningless if the plan has no quota. */
  readonly remaining: number
}

/**
 * Reads the daily usage of a key on its usage plan (GetUsage). API Gateway's figures are up to half an hour late.
 * Returns no days for a key that was never used or no longer exists.
 * @throws ServiceError see {@link toReadError}
 */
export async function readUsage(
  client: APIGatewayClient,
  { usagePlanId, keyId, from, to }: UsageQuery,
  abortSignal: AbortSignal,
): Promise<UsageDay[]> {
  try {
    const days: UsageDay[] = []
    const query = { usagePlanId, keyId, startDate: from, endDate: to }
    for await (const page of paginateGetUsage({ client, pageSize: 500 }, query, { abortSignal })) {
      const { usagePlanId: answeredFor, items } = page
      // No figures mean "never used", so they must be API Gateway's.
      if (answeredFor === undefined && items === undefined) throw notUsage()
      // AWS does not document whether the id or the value of the key is the index; the query names only this key.
      const [figures = []] = items?.[keyId] === undefined ? Object.values(items ?? {}) : [items[keyId]]
      for (const [used = 0, remaining = 0] of figures) {
        const date = dateOf(Date.parse(from) + days.length * DAY_MS)
        days.push({ date, used, remaining })
      }
    }
    return days
  } catch (error) {
    throw toReadError(error, 'read the usage of a key')
  }
}

function notUsage(): Error {
  const error = new Error('the response to GetUsage has neither a usage plan nor figures')
  return Object.assign(error, { $metadata: { httpStatusCode: 200 } })
}

export interface RemainingQuota {
  readonly usagePlanId: string
  readonly keyId: string
  /** The requests left in the present period. */
  readonly remaining: number
}

/**
 * Sets what is left of a key's quota in the present period (UpdateUsage). It waits in `queue` for the other changes of this
 * process.
 * @throws ServiceError see {@link toServiceError}
 */
export async function setRemaining(
  client: APIGatewayClient,
  queue: ChangeQueue,
  { usagePlanId, keyId, remaining }: RemainingQuota,
  abortSignal: AbortSignal,
): Promise<void> {
  const patchOperations = [{ op: 'replace' as const, path: '/remaining', value: String(remaining) }]
  const command = new UpdateUsageCommand({ usagePlanId, keyId, patchOperations })
  await queue.run(abortSignal, async () => {
    try {
      await client.send(command, { abortSignal })
      return {}
    } catch (error) {
      const answered = answeredError(error)
      if (answered?.name === 'ConflictException' && isConcurrentChange(answered.message))
        return { conflict: answered.message }
      throw toServiceError(error, "carry a key's quota to the next key")
    }
  })
}
