import { LRUCache } from 'lru-cache'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { KeyState } from '../../aws/live-key.ts'
import { isLogged } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { KeyProbe } from '../data-plane/key-probe.ts'
import {
  type JudgeKeyDeps,
  judgeKey,
  type KeyFinding,
  type KeyOfPlan,
  LATE_UP_TO_MS,
  lookUntilSure,
} from '../judge-key.ts'

/** The time for which a key's state is reused (ms): clients that poll must not use up the control plane's quota. */
const REUSE_MS = 10_000
const MAX_CACHED = 1_000
const TIMEOUT_MS = 5_000
/** The time limit of a look that a replay waits for (ms). */
const LOOK_TIMEOUT_MS = 2_000
/** The maximum number of simultaneous checks. Beyond it a key's state is unknown, so that no request waits for others. */
const MAX_QUERIES = 4

/** The health of a key, as of at most 10 seconds ago. `null`: unknown. */
export interface KeyHealth {
  /** `true` if the key existed, was enabled and was on a usage plan that opens the API. */
  readonly live: boolean | null
  /** `true` if the API accepts the key, `false` if it rejects it. */
  readonly ready: boolean | null
  /** The id of the usage plan that the key was on; `null` also if there was none. */
  readonly usagePlanId: string | null
}

export interface KeyToCheck extends KeyOfPlan {
  /** The bootstrap token that the key was minted with. */
  readonly tokenId: string
}

export interface KeyLiveness {
  /** Checks a key in API Gateway, and probes it if `API_PROBE_PATH` is set. Never throws. */
  check(key: KeyToCheck): Promise<KeyHealth>
  /**
   * Looks at a key in API Gateway. `undefined`: its state is unknown, because API Gateway does not respond in time, or many
   * keys that are as young are being looked at. Never throws.
   * @param age in milliseconds
   */
  look(key: KeyOfPlan, age: number): Promise<KeyFinding | undefined>
}

export interface KeyLivenessDeps extends JudgeKeyDeps {
  /** For the status that owners ask for. */
  readonly queryApiGateway: Pick<ApiGateway, 'readKey'>
  /** For the key of a replay. */
  readonly lowPriorityApiGateway: ApiGateway
  readonly keyProbe: KeyProbe | null
  readonly log: Log
}

export function createKeyLiveness(deps: KeyLivenessDeps): KeyLiveness {
  const { queryApiGateway, lowPriorityApiGateway, keyProbe, log } = deps
  let queries = 0
  let youngLooks = 0
  const cache = new LRUCache<string, { readonly state: KeyState | null }, Pick<ApiGateway, 'readKey'>>({
    max: MAX_CACHED,
    ttl: REUSE_MS,
    // The entries contain secrets, so they are removed as soon as they expire.
    ttlAutopurge: true,
    // Simultaneous requests for the same key share one read.
    fetchMethod: async (keyId, _known, { context: apiGateway }) => {
      const isQuery = apiGateway === queryApiGateway
      if (isQuery && queries >= MAX_QUERIES) return undefined
      if (isQuery) queries += 1
      try {
        // The value is read only while it is needed to probe the key.
        const withValue = keyProbe !== null && !keyProbe.wasAccepted(keyId)
        const signal = AbortSignal.timeout(isQuery ? TIMEOUT_MS : LOOK_TIMEOUT_MS)
        return { state: await apiGateway.readKey({ keyId, withValue }, signal) }
      } finally {
        if (isQuery) queries -= 1
      }
    },
  })

  async function read(
    keyId: string,
    apiGateway: Pick<ApiGateway, 'readKey'>,
    forceRefresh = false,
  ): Promise<{ readonly state: KeyState | null } | undefined> {
    try {
      return await cache.fetch(keyId, { context: apiGateway, forceRefresh })
    } catch (err) {
      if (!isLogged(err)) log.warn({ api_key_id: keyId, err }, 'could not check whether key is live')
      return undefined
    }
  }

  async function isReady(
    { keyId, tokenId }: KeyToCheck,
    state: KeyState | null,
    { fault }: KeyFinding,
  ): Promise<boolean | null> {
    if (keyProbe === null) return null
    if (fault !== null) return false
    if (keyProbe.wasAccepted(keyId)) return true
    const value = state?.value
    return value === undefined ? null : keyProbe.isAccepted({ keyId, value, tokenId })
  }

  return {
    async check(key) {
      const found = await read(key.keyId, queryApiGateway)
      if (found === undefined) return { live: null, ready: null, usagePlanId: null }
      const finding = await judgeKey(deps, found.state, key.usagePlanId)
      const ready = await isReady(key, found.state, finding)
      const { fault, live, plan } = finding
      // An accepted probe is proof, whatever the plan covers.
      return {
        live: live || (fault === null && ready === true),
        ready,
        usagePlanId: plan?.usagePlanId ?? null,
      }
    },
    async look({ keyId, usagePlanId }, age) {
      // After a crash all callers ask again at once, for keys that were just minted: they must not wait for one another.
      const isYoung = Math.abs(age) <= LATE_UP_TO_MS
      if (isYoung && youngLooks >= MAX_QUERIES) return undefined
      if (isYoung) youngLooks += 1
      try {
        return await lookUntilSure(async () => {
          const found = await read(keyId, lowPriorityApiGateway, isYoung)
          return found && judgeKey(deps, found.state, usagePlanId)
        }, age)
      } finally {
        if (isYoung) youngLooks -= 1
      }
    },
  }
}
