import { LRUCache } from 'lru-cache'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { KeyState } from '../../aws/live-key.ts'
import type { Log } from '../../log.ts'
import type { KeyProbe } from '../data-plane/key-probe.ts'

/** The time for which a key's state is reused (ms): clients that poll must not use up the control plane's quota. */
const REUSE_MS = 10_000
const MAX_CACHED = 1_000
const TIMEOUT_MS = 5_000
/** The maximum number of simultaneous reads. Beyond it a key's state is unknown, so that no request waits for others. */
const MAX_READS = 4

/** The health of a key. `null`: unknown. */
export interface KeyHealth {
  /** `true` if the key existed, was enabled and was on its usage plan, at most 10 seconds ago. */
  readonly live: boolean | null
  /** `true` if the API accepts the key, `false` if it rejects it. */
  readonly ready: boolean | null
}

export interface KeyToCheck {
  readonly keyId: string
  readonly usagePlanId: string
  /** The bootstrap token that the key was minted with. */
  readonly tokenId: string
}

export interface KeyLiveness {
  /** Checks a key in API Gateway, and probes it if `API_PROBE_PATH` is set. Never throws. */
  check(key: KeyToCheck): Promise<KeyHealth>
}

export interface KeyLivenessDeps {
  readonly lowPriorityApiGateway: ApiGateway
  readonly keyProbe: KeyProbe | null
  readonly log: Log
}

export function createKeyLiveness({ lowPriorityApiGateway, keyProbe, log }: KeyLivenessDeps): KeyLiveness {
  let reads = 0
  const cache = new LRUCache<string, KeyState, string>({
    max: MAX_CACHED,
    ttl: REUSE_MS,
    // The entries contain secrets, so they are removed as soon as they expire.
    ttlAutopurge: true,
    // Simultaneous requests for the same key share one read.
    fetchMethod: async (keyId, _stale, { context: usagePlanId }) => {
      if (reads >= MAX_READS) return undefined
      reads += 1
      try {
        // The value is read only while it is needed to probe the key.
        const withValue = keyProbe !== null && !keyProbe.wasAccepted(keyId)
        return await lowPriorityApiGateway.readKey(
          { keyId, usagePlanId, withValue },
          AbortSignal.timeout(TIMEOUT_MS),
        )
      } finally {
        reads -= 1
      }
    },
  })

  async function isReady(
    { keyId, tokenId }: KeyToCheck,
    state: KeyState | undefined,
  ): Promise<boolean | null> {
    if (keyProbe === null || state === undefined) return null
    if (!state.live) return false
    if (keyProbe.wasAccepted(keyId)) return true
    return state.value === undefined ? null : keyProbe.isAccepted({ keyId, value: state.value, tokenId })
  }

  return {
    async check(key) {
      const { keyId, usagePlanId } = key
      const state = await cache.fetch(keyId, { context: usagePlanId }).catch((err: unknown) => {
        log.warn({ api_key_id: keyId, err }, 'could not check whether key is live')
        return undefined
      })
      return { live: state?.live ?? null, ready: await isReady(key, state) }
    },
  }
}
