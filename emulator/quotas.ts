import { createTokenBucket, type TokenBucket } from '../src/token-bucket.ts'
import { tooManyRequests } from './api-error.ts'
import type { OperationName } from './operation-names.ts'

/** Counts a call against the control plane's quotas. @throws ApiError 429 with `Retry-After` */
export type Quotas = (operation: OperationName) => void

/** Creates the published quotas of an account: 10 calls a second with a burst of 40, and less for some operations. */
export function createQuotas(): Quotas {
  const total = createTokenBucket(10, 40)
  const own: Partial<Record<OperationName, TokenBucket>> = {
    CreateApiKey: createTokenBucket(5, 5),
    DeleteApiKey: createTokenBucket(5, 5),
    UpdateUsagePlan: createTokenBucket(1 / 20, 1),
    UpdateAccount: createTokenBucket(1 / 20, 1),
    CreateDomainName: createTokenBucket(1 / 30, 1),
    CreateRestApi: createTokenBucket(1 / 3, 1), // Of Regional and private APIs; 1 in 30 s for edge-optimised ones.
    DeleteRestApi: createTokenBucket(1 / 30, 1),
    CreateResource: createTokenBucket(5, 5),
    DeleteResource: createTokenBucket(5, 5),
    GetResources: createTokenBucket(5 / 2, 5),
    CreateDeployment: createTokenBucket(1 / 5, 1),
  }
  return (operation) => {
    const wait = total.take() || (own[operation]?.take() ?? 0)
    if (wait > 0) throw tooManyRequests(Math.max(1, Math.ceil(wait)))
  }
}
