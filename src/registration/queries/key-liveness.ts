import { LRUCache } from 'lru-cache'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { KeyState } from '../../aws/live-key.ts'
import type { Log } from '../../log.ts'
import type { KeyProbe } from '../data-plane/key-probe.ts'

/** How long an answer is reused (ms), and how many are kept: whoever polls must not eat the control plane's quota. */
const GOOD_FOR_MS = 10_000
const KEPT = 1_000
const TIMEOUT_MS = 5_000
/** How many are looked for at once: who polls waits for nobody, and nobody for who polls. */
const LOOKS_AT_ONCE = 4

/** How a key stands. `null`: nobody could say. */
export interface KeyHealth {
  /** Whether it exists, is enabled and is on its plan, some seconds ago at most. */
  readonly live: boolean | null
  /** Whether the API takes it. */
  readonly ready: boolean | null
}

export interface KeyToLookAt {
  readonly keyId: string
  readonly usagePlanId: string
  /** With which bootstrap token it was made. */
  readonly tokenId: string
}

export interface KeyLiveness {
  look(key: KeyToLookAt): Promise<KeyHealth>
}

export interface KeyLivenessDeps {
  readonly lowPriorityApiGateway: ApiGateway
  readonly keyProbe: KeyProbe | null
  readonly log: Log
}

export function createKeyLiveness({ lowPriorityApiGateway, keyProbe, log }: KeyLivenessDeps): KeyLiveness {
  let looks = 0
  const cache = new LRUCache<string, KeyState, string>({
    max: KEPT,
    ttl: GOOD_FOR_MS,
    // There are secrets in it.
    ttlAutopurge: true,
    // Whoever asks meanwhile waits for the same look.
    fetchMethod: async (keyId, _stale, { context: usagePlanId }) => {
      if (looks >= LOOKS_AT_ONCE) return undefined
      looks += 1
      try {
        // The value only where it is still needed: to ask the API whether it takes the key.
        const withValue = keyProbe !== null && !keyProbe.wasAccepted(keyId)
        return await lowPriorityApiGateway.readKey(
          { keyId, usagePlanId, withValue },
          AbortSignal.timeout(TIMEOUT_MS),
        )
      } finally {
        looks -= 1
      }
    },
  })

  async function isReady(
    { keyId, tokenId }: KeyToLookAt,
    state: KeyState | undefined,
  ): Promise<boolean | null> {
    if (keyProbe === null || state === undefined) return null
    if (!state.live) return false
    if (keyProbe.wasAccepted(keyId)) return true
    return state.value === undefined ? null : keyProbe.isAccepted({ keyId, value: state.value, tokenId })
  }

  return {
    async look(key) {
      const { keyId, usagePlanId } = key
      const state = await cache.fetch(keyId, { context: usagePlanId }).catch((err: unknown) => {
        log.warn({ api_key_id: keyId, err }, 'could not see whether a key is live')
        return undefined
      })
      return { live: state?.live ?? null, ready: await isReady(key, state) }
    },
  }
}
