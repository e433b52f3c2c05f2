import { LRUCache } from 'lru-cache'
import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Log } from '../log.ts'

/** How long an answer is reused (ms), and how many are kept: whoever polls must not eat the control plane's quota. */
const GOOD_FOR_MS = 10_000
const KEPT = 1_000
const TIMEOUT_MS = 5_000
/** How many are looked for at once: who polls waits for nobody, and nobody for who polls. */
const LOOKS_AT_ONCE = 4

export interface Liveness {
  /** Whether a key exists, is enabled and is on its plan, some seconds ago at most; `null`: nobody could say. */
  isLive(key: { keyId: string; usagePlanId: string }): Promise<boolean | null>
}

export function createLiveness({ background, log }: { background: ApiGateway; log: Log }): Liveness {
  let looks = 0
  const cache = new LRUCache<string, { live: boolean }, string>({
    max: KEPT,
    ttl: GOOD_FOR_MS,
    // Whoever asks meanwhile waits for the same look.
    fetchMethod: async (keyId, _stale, { context: usagePlanId }) => {
      if (looks >= LOOKS_AT_ONCE) return undefined
      looks += 1
      try {
        return { live: await background.isLive({ keyId, usagePlanId }, AbortSignal.timeout(TIMEOUT_MS)) }
      } finally {
        looks -= 1
      }
    },
  })
  return {
    async isLive({ keyId, usagePlanId }) {
      try {
        return (await cache.fetch(keyId, { context: usagePlanId }))?.live ?? null
      } catch (err) {
        log.warn({ api_key_id: keyId, err }, 'could not see whether a key is live')
        return null
      }
    },
  }
}
