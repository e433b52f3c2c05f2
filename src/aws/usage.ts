import { type APIGatewayClient, paginateGetUsage } from '@aws-sdk/client-api-gateway'
import { toServiceError } from './errors.ts'

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
  /** Requests of the day. */
  readonly used: number
  /** What the quota of the plan left over at the end of it; meaningless where the plan has none. */
  readonly remaining: number
}

const DAY_MS = 86_400_000

/**
 * What a key used of its plan, a day each (GetUsage). API Gateway's figures are up to half an hour late. No days for a
 * key that was never used, or is gone.
 * @throws ServiceError
 */
export async function readUsage(
  client: APIGatewayClient,
  { usagePlanId, keyId, from, to }: UsageQuery,
  abortSignal: AbortSignal,
): Promise<UsageDay[]> {
  try {
    const days: UsageDay[] = []
    const query = { usagePlanId, keyId, startDate: from, endDate: to }
    for await (const { items = {} } of paginateGetUsage({ client, pageSize: 500 }, query, { abortSignal })) {
      // By the id of the key or by its value, which AWS does not say: only this key was asked for.
      const [figures = []] = items[keyId] === undefined ? Object.values(items) : [items[keyId]]
      for (const [used = 0, remaining = 0] of figures) {
        const date = new Date(Date.parse(from) + days.length * DAY_MS).toISOString().slice(0, 10)
        days.push({ date, used, remaining })
      }
    }
    return days
  } catch (error) {
    throw toServiceError(error, 'read the usage of a key')
  }
}
