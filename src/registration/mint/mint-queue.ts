import type { Credential, MintDeps, RegistrationDeps } from '../deps.ts'
import { createFairQueue } from '../fair-queue.ts'
import { abortAfter } from '../idempotency/deadline.ts'
import { createAwaitReady } from './await-ready.ts'
import { createBatchSize } from './batch-size.ts'
import { createCircuitBreaker } from './circuit-breaker.ts'
import { mintBulk } from './mint-bulk.ts'
import { type MintRequest, overloaded, type PendingMint } from './mint-request.ts'
import { mintOneByOne, mintSingle, SINGLE_AT_ONCE } from './mint-single.ts'
import { begin } from './record-pending.ts'

/**
 * The one queue and its one worker: what waits while API Gateway is busy goes together, from the first commit to the
 * last. One registration alone goes at once.
 */
export interface MintQueue {
  /**
   * Mints when its turn comes, and answers the order's credential.
   * @throws ServiceError `overloaded` if there is no room or it could not be done in time; what API Gateway and the
   *   store throw
   */
  submit(order: Omit<MintRequest, 'resolve' | 'reject'>): Promise<Credential>
  /** Resolves when no batch is under way any more. */
  settled(): Promise<void>
}

/** While one batch is changing API Gateway, a full next one is begun and waits behind it: imports follow without a gap. */
const FULL_BATCHES_AT_ONCE = 2
/** A batch that takes longer than this (ms) does not hold the next one up, as far as API Gateway lets it through. */
const SLOW_MS = 3_000
const MOST_AT_ONCE = 4
/**
 * After a batch of several, the next waits so long (ms) for as many: those that were just answered come again, or
 * others do, and one larger batch serves them sooner than two small ones.
 */
const GATHER_MS = 3

/** Without any experience: what one registration by two calls takes, in milliseconds. */
const ALONE_EXPECTED_MS = 300

export function createMintQueue(deps: RegistrationDeps): MintQueue {
  const { clock, config, leases, log, timing } = deps
  const queue = createFairQueue<MintRequest>(config.queueMax)
  /** The batches under way, and when they were started. */
  const active = new Map<Promise<void>, number>()
  const afterwards = new Set<Promise<void>>()
  let aloneMs = ALONE_EXPECTED_MS
  let gatherUntil = 0
  let gatherEnough = 0
  let gathering: NodeJS.Timeout | undefined
  let awake = false

  const mintDeps: MintDeps = {
    ...deps,
    batchSize: createBatchSize(config.mintBatchMax),
    imports: createCircuitBreaker(
      clock,
      config.mintMode === 'bulk' ? 0 : timing.distrust,
      log,
      'imports do not work: keys are made one at a time for a while',
    ),
    attaches: createCircuitBreaker(
      clock,
      timing.distrust,
      log,
      'attaches do not work: each is checked for a while',
    ),
    hold: deps.keyProbe === null ? null : createAwaitReady(deps, deps.keyProbe),
    afterwards(work) {
      const running = work()
        .catch((err: unknown) => log.error({ err }, 'what was to be done after an answer failed'))
        .finally(() => afterwards.delete(running))
      afterwards.add(running)
    },
  }
  const usesImports = () => config.mintMode !== 'single' && mintDeps.imports.holds()

  /** How long until a new one of this token is minted, as far as can be known: rather too short; in milliseconds. */
  function expectedMs(tokenId: string): number {
    if (active.size === 0) return 0
    const ahead = queue.ahead(tokenId)
    if (!usesImports()) return (ahead + 1) * aloneMs
    const { limit, expectedMs } = mintDeps.batchSize
    return Math.floor(ahead / limit()) * expectedMs() + ALONE_EXPECTED_MS
  }

  function mayStart(): boolean {
    if (active.size === 0) return true
    if (active.size >= MOST_AT_ONCE) return false
    if (!usesImports()) return active.size < SINGLE_AT_ONCE
    if (queue.size() >= mintDeps.batchSize.limit()) return active.size < FULL_BATCHES_AT_ONCE
    return [...active.values()].every((startedAt) => performance.now() - startedAt > SLOW_MS)
  }

  /** Not at once: what arrived together goes together. */
  function wake(): void {
    if (awake) return
    awake = true
    setImmediate(() => {
      awake = false
      const gatherMs = gatherUntil - performance.now()
      if (gatherMs <= 0 || queue.size() >= Math.min(gatherEnough, mintDeps.batchSize.limit()))
        startWhatMayStart()
      else gathering ??= setTimeout(startWhatMayStart, gatherMs)
    })
  }

  function startWhatMayStart(): void {
    clearTimeout(gathering)
    gathering = undefined
    while (queue.size() > 0 && mayStart()) {
      const orders = queue.take(usesImports() ? mintDeps.batchSize.limit() : 1)
      const running = run(orders)
        .catch((error: unknown) => {
          log.error({ err: error, count: orders.length }, 'a batch failed')
          for (const { reject } of orders) reject(error)
        })
        .finally(() => {
          active.delete(running)
          if (orders.length > 1) {
            gatherUntil = performance.now() + GATHER_MS
            gatherEnough = orders.length
          }
          wake()
        })
      active.set(running, performance.now())
      setTimeout(wake, SLOW_MS + 1).unref()
    }
  }

  async function run(orders: readonly MintRequest[]): Promise<void> {
    const startedAt = performance.now()
    const sharers = active.size + 1
    const lease = leases.hold()
    // Those that somebody can ask for later may go on when their callers were told to come back.
    const endsAt = orders.map(
      ({ answerBy, identity }) => answerBy + (identity === null ? 0 : timing.afterDeadline),
    )
    const limit = abortAfter(Math.max(0, Math.max(...endsAt) - startedAt))
    try {
      const works = await begin(mintDeps, orders, lease)
      await mintAll(works, limit.signal)
    } finally {
      limit.cancel()
      leases.drop(lease.owner)
    }
    if (orders.length === 1) aloneMs = (aloneMs + (performance.now() - startedAt) / sharers) / 2
  }

  async function mintAll(works: readonly PendingMint[], signal: AbortSignal): Promise<void> {
    const [first, second] = works
    if (first === undefined) return
    if (!usesImports()) await mintOneByOne(mintDeps, works, signal)
    else if (second === undefined && config.mintMode !== 'bulk') await mintSingle(mintDeps, first, signal)
    else await mintBulk(mintDeps, works, signal)
  }

  return {
    submit(order) {
      const expected = expectedMs(order.token.id)
      if (performance.now() + expected > order.answerBy) return Promise.reject(overloaded(expected))
      return new Promise((resolve, reject) => {
        const dropped = queue.add(order.token.id, { ...order, resolve, reject })
        dropped?.reject(overloaded(expected))
        wake()
      })
    },
    async settled() {
      while (active.size > 0 || afterwards.size > 0) {
        await Promise.allSettled([...active.keys(), ...afterwards])
      }
    },
  }
}
