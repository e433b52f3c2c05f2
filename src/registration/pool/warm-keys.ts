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
  /**
   * Records keys that were being made as `warming`, and adds those.
   * @returns the ids of those that moved: the others are not held any more
   * @throws ServiceError of the store
   */
  begin(keys: readonly WarmingKey[]): Promise<Set<string>>
  /** Adds keys, unless they are here. */
  add(keys: readonly WarmingKey[]): void
  has(id: string): boolean
  list(): WarmingKey[]
  /** Returns what is wrong with the probes of keys, for the operator. */
  troubles(): string[]
  /** Forgets keys. */
  remove(ids: readonly string[]): void
  /** Ends all work on them. Resolves when none is running. */
  stop(): Promise<void>
}

/** Hosts of the data plane learn of a key one after the other. */
const ENOUGH = ACCEPTED_PROBES
/** The most keys that are probed at once. */
const PROBED_AT_ONCE = 20
/** The pause after a rejection: this part of the time for which the key has warmed, at most so long (ms). */
const PAUSE_SHARE = 1 / 6
const LONGEST_PAUSE_MS = 5_000
/** After so long (ms) a key hardly begins to work, and the pauses are as long as this (ms). */
const SLOW_AFTER_MS = 600_000
const SLOW_PAUSE_MS = 60_000
/** Probes for the pool take turns with those for callers, as those of one bootstrap token. */
const TURNS_AS = 'pool'

interface Warming {
  readonly key: WarmingKey
  /** The time at which it began to warm, on the clock of `performance.now()`: a step of the other clock makes no key older. */
  readonly startedAt: number
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
  let running = Promise.resolve()
  let stopped = false
  let isFailing = false
  /** The latest keys that became ready did so by their age, although the API is probed. */
  let isBlind = false

  function schedule(): void {
    if (timer !== undefined || stopped || keys.size === 0) return
    timer = setTimeout(
      () => {
        running = attempt().finally(() => {
          timer = undefined
          schedule()
        })
      },
      isFailing ? timing.poolRound : timing.poolProbe,
    ).unref()
  }

  /** Runs a round, and never throws. A fault that lasts is logged once. */
  async function attempt(): Promise<void> {
    try {
      await round()
      isFailing = false
    } catch (err) {
      if (!isFailing) log.error({ err }, 'could not record that keys of the pool work; will retry')
      isFailing = true
    }
  }

  async function round(): Promise<void> {
    if (keyProbe !== null) await probe()
    const { seen = [], unseen = [] } = Object.groupBy(keys.values(), ({ accepted }) =>
      accepted >= ENOUGH ? 'seen' : 'unseen',
    )
    await makeReady(seen, true)
    const settled = unseen.filter(isSettled)
    await makeReady(settled, false)
    if (keyProbe !== null && seen.length + settled.length > 0) isBlind = seen.length === 0
  }

  const isOld = ({ startedAt }: Warming) => performance.now() - startedAt >= config.poolSettleMs

  /** Reports whether a key is old enough, and the API cannot show that it works: no path is set, or it has no clear response. */
  function isSettled(one: Warming): boolean {
    if (keyProbe !== null && (one.probes < ENOUGH || one.isRejected)) return false
    return isOld(one)
  }

  function troubles(): string[] {
    if (isBlind)
      return ['API_PROBE_PATH gives no clear response: keys count as ready when they are POOL_SETTLE old']
    const rejects = [...keys.values()].some((one) => one.isRejected && isOld(one))
    return rejects ? ['the API still rejects keys that are POOL_SETTLE old: see API_PROBE_PATH'] : []
  }

  async function probe(): Promise<void> {
    const due = [...keys.values()]
      .filter(({ accepted, nextAt }) => accepted < ENOUGH && nextAt <= performance.now())
      .sort((a, b) => a.nextAt - b.nextAt)
    await Promise.all(due.slice(0, PROBED_AT_ONCE).map(probeOne))
  }

  async function probeOne(one: Warming): Promise<void> {
    const { apiKeyId, value } = one.key
    const isAccepted = await keyProbe?.isAccepted({ keyId: apiKeyId, value, tokenId: TURNS_AS })
    one.probes += 1
    one.accepted = isAccepted ? one.accepted + 1 : 0
    if (isAccepted !== null) one.isRejected = isAccepted === false
    const now = performance.now()
    one.nextAt = now + Math.max(timing.poolProbe, isAccepted ? 0 : pauseAt(now - one.startedAt))
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

  function add(added: readonly WarmingKey[]): void {
    for (const key of added) {
      if (keys.has(key.id)) continue
      const startedAt = performance.now() - Math.max(0, clock() - key.since)
      keys.set(key.id, { key, startedAt, accepted: 0, probes: 0, isRejected: false, nextAt: 0 })
    }
    schedule()
  }

  return {
    async begin(made) {
      if (made.length === 0) return new Set()
      const changes = made.map(({ id, apiKeyId }) => ({
        id,
        apiKeyId,
        to: 'warming' as const,
        seenWorking: false,
      }))
      const moved = await store.advancePoolKeys(changes, shelf.owner, clock())
      add(made.filter(({ id }) => moved.has(id)))
      return moved
    },
    add,
    has: (id) => keys.has(id),
    list: () => [...keys.values()].map(({ key }) => key),
    troubles,
    remove(ids) {
      for (const id of ids) keys.delete(id)
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
}

/** Returns the pause after a rejection of a key that has warmed for so long. */
const pauseAt = (age: number): number =>
  age >= SLOW_AFTER_MS ? SLOW_PAUSE_MS : Math.min(age * PAUSE_SHARE, LONGEST_PAUSE_MS)
