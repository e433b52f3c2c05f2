import { abortAfter } from '../../abort-after.ts'
import type { Credential, RegistrationDeps } from '../deps.ts'
import { createFairQueue } from '../fair-queue.ts'
import { overloaded } from '../use-case-errors.ts'
import { createAwaitReady } from './await-ready.ts'
import { createBatchSize } from './batch-size.ts'
import { createCircuitBreaker } from './circuit-breaker.ts'
import { mintBulk } from './mint-bulk.ts'
import type { MintDeps } from './mint-deps.ts'
import { endOf, type MintRequest, type NewMintRequest, type PendingMint } from './mint-request.ts'
import { mintOneByOne, mintSingle, SINGLE_AT_ONCE } from './mint-single.ts'
import { recordPending } from './record-pending.ts'

/**
 * The queue of all requests for keys, and its worker. Requests that wait while API Gateway is busy are served together, from
 * the first commit to the last. A request that arrives alone is served at once.
 */
export interface MintQueue {
  /**
   * Mints a key when the request's turn comes.
   * @throws ServiceError the standing fault that concerns it (`standing-faults.ts`); `overloaded` if the queue is full or too long for the deadline; errors of API Gateway and the store
   */
  submit(request: NewMintRequest): Promise<Credential>
  /** Returns how many requests wait for their turn, and for how long the oldest does. */
  waiting(): { readonly length: number; readonly oldestMs: number }
  /** Reports whether no request waits, and no batch is running. */
  isIdle(): boolean
  /** Resolves when no batch and no task after a response is running. */
  settled(): Promise<void>
}

/** While one batch is with API Gateway, a full next one is recorded and waits: imports follow each other without a gap. */
const FULL_BATCHES_AT_ONCE = 2
/** A batch that takes longer than this (ms) does not delay the next one, as far as API Gateway allows it. */
const SLOW_MS = 3_000
const MOST_AT_ONCE = 4
/**
 * After a batch of several, the next one waits this long (ms) for as many: callers that were just answered come again, or
 * others do, and one larger batch serves them sooner than two small ones.
 */
const GATHER_MS = 3

/** The expected duration of a single registration before any was measured, in milliseconds. */
const SINGLE_EXPECTED_MS = 300

export function createMintQueue(deps: RegistrationDeps): MintQueue {
  const { config, leases, log, standingFaults, timing } = deps
  const queue = createFairQueue<MintRequest>(config.queueMax)
  /** The running batches, and when they were started. */
  const active = new Map<Promise<void>, number>()
  const tasks = new Set<Promise<void>>()
  let singleMs = SINGLE_EXPECTED_MS
  let gatherUntil = 0
  let gatherEnough = 0
  let gathering: NodeJS.Timeout | undefined
  let isWaking = false

  const mintDeps: MintDeps = {
    ...deps,
    batchSize: createBatchSize(config.mintBatchMax),
    importBreaker: createCircuitBreaker({
      longest: config.mintMode === 'bulk' ? 0 : timing.distrust,
      log,
      messages: {
        failed: 'an import left keys that did not work: they were repaired',
        opened: 'imports do not work: minting keys one at a time for now',
      },
    }),
    attachBreaker: createCircuitBreaker({
      longest: timing.distrust,
      log,
      messages: {
        failed: 'an attachment did not hold',
        opened: 'attachments do not work: verifying each one for now',
      },
    }),
    awaitReady: deps.keyProbe === null ? null : createAwaitReady(deps, deps.keyProbe),
    afterResponse(task) {
      const running = task()
        .catch((err: unknown) => log.error({ err }, 'post-response task failed'))
        .finally(() => tasks.delete(running))
      tasks.add(running)
    },
  }
  const usesImports = () => config.mintMode !== 'single' && mintDeps.importBreaker.isClosed()

  /** The time until a new request of this token is minted (ms). An estimate that is rather too short. */
  function expectedMs(tokenId: string): number {
    if (active.size === 0) return 0
    const ahead = queue.ahead(tokenId)
    if (!usesImports()) return (ahead + 1) * singleMs
    const { limit, expectedMs } = mintDeps.batchSize
    return Math.floor(ahead / limit()) * expectedMs() + SINGLE_EXPECTED_MS
  }

  function mayStart(): boolean {
    if (active.size === 0) return true
    if (active.size >= MOST_AT_ONCE) return false
    if (!usesImports()) return active.size < SINGLE_AT_ONCE
    if (queue.size() >= mintDeps.batchSize.limit()) return active.size < FULL_BATCHES_AT_ONCE
    return [...active.values()].every((startedAt) => performance.now() - startedAt > SLOW_MS)
  }

  /** Starts batches in the next turn of the event loop: requests that arrived together are served together. */
  function wake(): void {
    if (isWaking) return
    isWaking = true
    setImmediate(() => {
      isWaking = false
      const gatherMs = gatherUntil - performance.now()
      if (gatherMs <= 0 || queue.size() >= Math.min(gatherEnough, mintDeps.batchSize.limit())) startBatches()
      else gathering ??= setTimeout(startBatches, gatherMs)
    })
  }

  function startBatches(): void {
    clearTimeout(gathering)
    gathering = undefined
    while (queue.size() > 0 && mayStart()) {
      const requests = queue.take(usesImports() ? mintDeps.batchSize.limit() : 1)
      const running = run(requests)
        .catch((error: unknown) => {
          log.error({ err: error, count: requests.length }, 'batch failed')
          for (const { reject } of requests) reject(error)
        })
        .finally(() => {
          active.delete(running)
          if (requests.length > 1) {
            gatherUntil = performance.now() + GATHER_MS
            gatherEnough = requests.length
          }
          wake()
        })
      active.set(running, performance.now())
      setTimeout(wake, SLOW_MS + 1).unref()
    }
  }

  async function run(queued: readonly MintRequest[]): Promise<void> {
    const requests = rejectHopeless(queued)
    if (requests.length === 0) return
    const startedAt = performance.now()
    const sharers = active.size + 1
    const lease = leases.hold()
    const end = Math.max(...requests.map((one) => endOf(one, timing)))
    const limit = abortAfter(Math.max(0, end - startedAt))
    try {
      const mints = await recordPending(mintDeps, requests, lease)
      await mintAll(mints, limit.signal)
    } finally {
      limit.cancel()
      leases.drop(lease.owner)
    }
    if (requests.length === 1) singleMs = (singleMs + (performance.now() - startedAt) / sharers) / 2
  }

  /** Rejects the requests that a fault concerns which was found while they waited. @returns the others */
  function rejectHopeless(requests: readonly MintRequest[]): MintRequest[] {
    return requests.filter(({ admittedAt, plan, reject }) => {
      const fault = standingFaults.foundSince(admittedAt, plan.usagePlanId)
      if (fault !== undefined) reject(fault)
      return fault === undefined
    })
  }

  async function mintAll(mints: readonly PendingMint[], signal: AbortSignal): Promise<void> {
    const [first, second] = mints
    if (first === undefined) return
    if (!usesImports()) await mintOneByOne(mintDeps, mints, signal)
    else if (second === undefined && config.mintMode !== 'bulk') await mintSingle(mintDeps, first, signal)
    else await mintBulk(mintDeps, mints, signal)
  }

  return {
    async submit(request) {
      // One that was recorded before may have its key already.
      if (request.begun === null) standingFaults.admit(request.plan.usagePlanId)
      const expected = expectedMs(request.token.id)
      if (performance.now() + expected > request.answerBy) throw overloaded(expected)
      const admittedAt = performance.now()
      return new Promise((resolve, reject) => {
        const dropped = queue.add(request.token.id, { ...request, admittedAt, resolve, reject })
        dropped?.reject(overloaded(expected))
        wake()
      })
    },
    waiting() {
      const now = performance.now()
      const oldestAt = queue.heads().reduce((oldest, { admittedAt }) => Math.min(oldest, admittedAt), now)
      return { length: queue.size(), oldestMs: now - oldestAt }
    },
    isIdle: () => queue.size() === 0 && active.size === 0,
    async settled() {
      while (active.size > 0 || tasks.size > 0) {
        await Promise.allSettled([...active.keys(), ...tasks])
      }
    },
  }
}
