import { setImmediate as nextTurn } from 'node:timers/promises'
import { abortAfter } from '../../abort-after.ts'
import type { FairQueue } from '../fair-queue.ts'
import { endlessRegistrationIds } from '../key-names.ts'
import type { Batch } from './batch.ts'
import type { MintDeps } from './mint-deps.ts'
import { endOf, type MintRequest } from './mint-request.ts'
import { SINGLE_AT_ONCE } from './mint-single.ts'
import { mintTogether, usesImports } from './mint-together.ts'
import { recordPending } from './record-pending.ts'

/**
 * Takes the requests of a queue in batches, and decides when each leaves. Requests that wait while API Gateway is busy are served
 * together, from the first commit to the last. A request that arrives alone is served at once.
 */
export interface BatchScheduler {
  /** Says that a request has joined the queue. Batches start in the next turn of the event loop: what arrived together is served together. */
  wake(): void
  /** Reports whether no batch is running. */
  isIdle(): boolean
  /** The expected duration of a registration that is minted alone, in milliseconds. */
  singleMs(): number
  /** Resolves when no batch is running, and none is left to start. */
  settled(): Promise<void>
}

/** While the keys of one batch are imported, the next one grows by so many requests or more: each step is a commit. */
const GROW_BY = 250
/** The most requests that one step records: the commit blocks the process. */
const GROW_BY_MOST = 1_000
/** A batch that takes longer than this (ms) does not delay the next one, as far as API Gateway allows it. */
const SLOW_MS = 3_000
const MOST_AT_ONCE = 4
/** While the keys of earlier batches are checked, an import of so many requests or more leaves if there are calls to spare. */
const EARLY_SIZE = 8
/**
 * Without calls to spare it takes so many, and this large a part of the earlier ones. Fewer wait for callers that were just
 * answered and come again: the account's quotas demand few batches.
 */
const EARLY_SIZE_SPARING = 100
const EARLY_PART_SPARING = 1 / 2
/** In a storm of requests the event loop may not turn for seconds. So many start without a turn after so long (ms). */
const STORM_SIZE = 500
const OVERDUE_MS = 100
/**
 * After a batch of several, the next one waits this long (ms) for as many: callers that were just answered come again, or
 * others do, and one larger batch serves them sooner than two small ones.
 */
const GATHER_MS = 3
/** The expected duration of a single registration before any was measured, in milliseconds. */
export const SINGLE_EXPECTED_MS = 300

export function createBatchScheduler(deps: MintDeps, queue: FairQueue<MintRequest>): BatchScheduler {
  const { batchSize, leases, log, standingFaults, timing } = deps
  const active = new Set<Batch>()
  const running = new Set<Promise<void>>()
  let growing: Batch | undefined
  let singleMs = SINGLE_EXPECTED_MS
  let gatherUntil = 0
  let gatherEnough = 0
  let gathering: NodeJS.Timeout | undefined
  let isWaking = false
  let wokenAt = 0

  /** Reports whether the next batch may be minted now, beside those that run. */
  function mayStart(): boolean {
    const others = [...active].filter((one) => one !== growing)
    if (others.length === 0) return true
    if (others.length >= MOST_AT_ONCE) return false
    if (!usesImports(deps)) return others.length < SINGLE_AT_ONCE
    if (others.every(({ startedAt }) => performance.now() - startedAt > SLOW_MS)) return true
    if (others.some(({ stage }) => stage === 'importing')) return false
    const size = queue.size() + (growing?.requests.length ?? 0)
    if (deps.hasSpareCalls()) return size >= EARLY_SIZE
    const largest = Math.max(...others.map(({ requests }) => requests.length))
    return size >= Math.max(EARLY_SIZE_SPARING, EARLY_PART_SPARING * largest)
  }

  function wake(): void {
    if (isWaking) {
      if (queue.size() >= STORM_SIZE && performance.now() - wokenAt > OVERDUE_MS) startBatches()
      return
    }
    isWaking = true
    wokenAt = performance.now()
    setImmediate(() => {
      isWaking = false
      const gatherMs = gatherUntil - performance.now()
      if (gatherMs <= 0 || queue.size() >= Math.min(gatherEnough, batchSize.limit())) startBatches()
      else gathering ??= setTimeout(startBatches, gatherMs)
    })
  }

  function startBatches(): void {
    clearTimeout(gathering)
    gathering = undefined
    wokenAt = performance.now()
    while (queue.size() > 0 || growing !== undefined) {
      const starts = mayStart()
      const imports = usesImports(deps)
      const room = Math.max(0, (imports ? batchSize.limit() : 1) - (growing?.requests.length ?? 0))
      if (!starts && (!imports || room === 0 || queue.size() < GROW_BY)) return
      growing ??= openBatch()
      addTo(growing, queue.take(starts ? room : Math.min(room, GROW_BY_MOST)))
      if (!starts) break
      start(growing)
      growing = undefined
    }
    if (queue.size() >= GROW_BY) wake()
  }

  function openBatch(): Batch {
    const batch: Batch = {
      ...{ lease: leases.hold(), ids: endlessRegistrationIds(deps.store.id) },
      ...{ requests: [], recorded: Promise.resolve([]), stage: 'growing', startedAt: performance.now() },
    }
    active.add(batch)
    return batch
  }

  /** Records requests as part of a batch. Those that no batch can serve are rejected. */
  function addTo(batch: Batch, queued: readonly MintRequest[]): void {
    const requests = rejectHopeless(queued)
    if (requests.length === 0) return
    batch.requests.push(...requests)
    const recording = recordPending(deps, requests, batch)
    batch.recorded = Promise.all([batch.recorded, recording]).then((parts) => parts.flat())
    batch.recorded.catch(() => undefined) // Its end is seen when the batch is minted.
  }

  /** Rejects the requests that a fault concerns which was found while they waited. @returns the others */
  function rejectHopeless(requests: readonly MintRequest[]): MintRequest[] {
    return requests.filter(({ admittedAt, plan, reject }) => {
      const fault = standingFaults.foundSince(admittedAt, plan.usagePlanId)
      if (fault !== undefined) reject(fault)
      return fault === undefined
    })
  }

  /** Mints a batch, which does not grow any more. */
  function start(batch: Batch): void {
    const { requests } = batch
    batch.stage = 'importing'
    batch.startedAt = performance.now()
    const isMinted = mint(batch)
      .catch((error: unknown) => {
        log.error({ err: error, count: requests.length }, 'batch failed')
        for (const { reject } of requests) reject(error)
      })
      .finally(() => {
        running.delete(isMinted)
        active.delete(batch)
        leases.drop(batch.lease.owner)
        if (requests.length > 1) {
          gatherUntil = performance.now() + GATHER_MS
          gatherEnough = requests.length
        }
        wake()
      })
    running.add(isMinted)
    setTimeout(wake, SLOW_MS + 1).unref()
  }

  async function mint(batch: Batch): Promise<void> {
    const { requests, startedAt } = batch
    if (requests.length === 0) return
    const sharers = active.size
    const end = Math.max(...requests.map((one) => endOf(one, timing)))
    const limit = abortAfter(Math.max(0, end - startedAt))
    try {
      await mintTogether(deps, await batch.recorded, limit.signal, () => {
        batch.stage = 'checking'
        startBatches()
      })
    } finally {
      limit.cancel()
    }
    if (requests.length === 1) singleMs = (singleMs + (performance.now() - startedAt) / sharers) / 2
  }

  return {
    wake,
    isIdle: () => active.size === 0,
    singleMs: () => singleMs,
    async settled() {
      while (active.size > 0) {
        await Promise.allSettled(running)
        await nextTurn() // A batch that has grown meanwhile starts.
      }
    },
  }
}
