import { ACCEPTED_PROBES } from '../used-by-caller.ts'
import type { HeldKey, KeyShelf } from './held-keys.ts'
import type { PoolDeps } from './pool-deps.ts'

/** A key that is enabled and on its plan, and not yet known to work. */
export interface WarmingKey extends Omit<HeldKey, 'seenWorking'> {
  /** The time at which it began to warm. */
  readonly since: number
}

/** The keys whose values this process has, until they count as working. */
export interface WarmKeys {
  add(keys: readonly WarmingKey[]): void
  has(id: string): boolean
  list(): WarmingKey[]
  /** Forgets keys. */
  remove(ids: readonly string[]): void
  /** Ends all work on them. */
  stop(): void
}

/** Hosts of the data plane learn of a key one after the other. */
const ENOUGH = ACCEPTED_PROBES
/** The most keys that are probed at once. */
const PROBED_AT_ONCE = 20
/** The pause after a rejection: this part of the key's age, at most so long (ms). */
const PAUSE_SHARE = 1 / 6
const LONGEST_PAUSE_MS = 5_000
/** Probes for the pool take turns with those for callers, as those of one bootstrap token. */
const TURNS_AS = 'pool'

interface Warming {
  readonly key: WarmingKey
  /** Acceptances in a row. */
  accepted: number
  probes: number
  /** The API rejected it at its latest clear response. */
  isRejected: boolean
  /** The time of the next probe, on the clock of `performance.now()`. */
  nextAt: number
}

/**
 * Moves keys to `shelf` once they work: the API accepted each several times in a row; or, where that cannot be seen, they are
 * old enough.
 */
export function createWarmKeys(
  { store, keyProbe, config, clock, timing, log }: PoolDeps,
  shelf: KeyShelf,
): WarmKeys {
  const keys = new Map<string, Warming>()
  let timer: NodeJS.Timeout | undefined
  let stopped = false

  function schedule(): void {
    if (timer !== undefined || stopped || keys.size === 0) return
    timer = setTimeout(() => {
      void round()
        .catch((err: unknown) =>
          log.error({ err }, 'could not record that keys of the pool work; will retry'),
        )
        .finally(() => {
          timer = undefined
          schedule()
        })
    }, timing.poolProbe).unref()
  }

  async function round(): Promise<void> {
    if (keyProbe !== null) await probe()
    const { seen = [], unseen = [] } = Object.groupBy(keys.values(), ({ accepted }) =>
      accepted >= ENOUGH ? 'seen' : 'unseen',
    )
    await makeReady(seen, true)
    await makeReady(unseen.filter(isSettled), false)
  }

  /** Reports whether a key is old enough, and the API cannot show that it works: no path is set, or it has no clear response. */
  function isSettled({ key, probes, isRejected }: Warming): boolean {
    if (keyProbe !== null && (probes < ENOUGH || isRejected)) return false
    return clock() - key.since >= config.poolSettleMs
  }

  async function probe(): Promise<void> {
    const due = [...keys.values()]
      .filter(({ accepted, nextAt }) => accepted < ENOUGH && nextAt <= performance.now())
      .sort((a, b) => a.nextAt - b.nextAt)
    await Promise.all(due.slice(0, PROBED_AT_ONCE).map(probeOne))
  }

  async function probeOne(one: Warming): Promise<void> {
    const { apiKeyId, value, since } = one.key
    const isAccepted = await keyProbe?.isAccepted({ keyId: apiKeyId, value, tokenId: TURNS_AS })
    one.probes += 1
    one.accepted = isAccepted ? one.accepted + 1 : 0
    if (isAccepted !== null) one.isRejected = isAccepted === false
    const pause = isAccepted ? 0 : Math.min((clock() - since) * PAUSE_SHARE, LONGEST_PAUSE_MS)
    one.nextAt = performance.now() + Math.max(timing.poolProbe, pause)
  }

  async function makeReady(some: readonly Warming[], seenWorking: boolean): Promise<void> {
    if (some.length === 0) return
    const changes = some.map(({ key: { id, apiKeyId } }) => ({
      id,
      apiKeyId,
      seenWorking,
      to: 'ready' as const,
    }))
    const moved = await store.advancePoolKeys(changes, shelf.owner, clock())
    for (const { key } of some) {
      // One that did not move is not held any more. One that was removed meanwhile is being discarded.
      const isHere = keys.delete(key.id)
      const { since: _, ...held } = key
      if (isHere && moved.has(key.id)) shelf.add([{ ...held, seenWorking }])
    }
  }

  return {
    add(added) {
      for (const key of added) keys.set(key.id, { key, accepted: 0, probes: 0, isRejected: false, nextAt: 0 })
      schedule()
    },
    has: (id) => keys.has(id),
    list: () => [...keys.values()].map(({ key }) => key),
    remove(ids) {
      for (const id of ids) keys.delete(id)
    },
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
