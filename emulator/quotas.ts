import { createTokenBucket, type TokenBucket } from '../src/token-bucket.ts'
import { tooManyRequests } from './api-error.ts'
import type { OperationName } from './options.ts'

/** Counts a call against the control plane's quotas. @throws ApiError 429 with `Retry-After` */
export type Quotas = (operation: OperationName) => void

/** Creates the published quotas of an account: 10 calls a second with a burst of 40, and less for three operations. */
export function createQuotas(): Quotas {
  const total = createTokenBucket(10, 40)
  const own: Partial<Record<OperationName, TokenBucket>> = {
    CreateApiKey: createTokenBucket(5, 5),
    DeleteApiKey: createTokenBucket(5, 5),
    UpdateUsagePlan: createTokenBucket(1 / 20, 1),
  }
  return (operation) => {
    const wait = total.take() || (own[operation]?.take() ?? 0)
    if (wait > 0) throw tooManyRequests(Math.max(1, Math.ceil(wait)))
  }
}
