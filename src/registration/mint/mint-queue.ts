import type { Credential, RegistrationDeps } from '../deps.ts'
import { createFairQueue } from '../fair-queue.ts'
import { overloaded } from '../use-case-errors.ts'
import { createAwaitReady } from './await-ready.ts'
import { createBatchScheduler, SINGLE_EXPECTED_MS } from './batch-scheduler.ts'
import { createBatchSize } from './batch-size.ts'
import { createCircuitBreaker } from './circuit-breaker.ts'
import type { MintDeps } from './mint-deps.ts'
import type { MintRequest, NewMintRequest } from './mint-request.ts'
import { usesImports } from './mint-together.ts'

/** The queue of all requests for keys. `batch-scheduler.ts` decides which are minted together, and when. */
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

export function createMintQueue(deps: RegistrationDeps): MintQueue {
  const { config, log, standingFaults, timing } = deps
  const queue = createFairQueue<MintRequest>(config.queueMax)
  const tasks = new Set<Promise<void>>()

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
  const scheduler = createBatchScheduler(mintDeps, queue)
  const isIdle = () => queue.size() === 0 && scheduler.isIdle()

  /** The time until a new request of this token is minted (ms). An estimate that is rather too short. */
  function expectedMs(tokenId: string): number {
    if (isIdle()) return 0
    const ahead = queue.ahead(tokenId)
    if (!usesImports(mintDeps)) return (ahead + 1) * scheduler.singleMs()
    const { limit, expectedMs } = mintDeps.batchSize
    return Math.floor(ahead / limit()) * expectedMs() + SINGLE_EXPECTED_MS
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
        scheduler.wake()
      })
    },
    waiting() {
      const now = performance.now()
      const oldestAt = queue.heads().reduce((oldest, { admittedAt }) => Math.min(oldest, admittedAt), now)
      return { length: queue.size(), oldestMs: now - oldestAt }
    },
    isIdle,
    async settled() {
      do {
        await scheduler.settled()
        await Promise.allSettled(tasks)
      } while (!scheduler.isIdle() || tasks.size > 0)
    },
  }
}
