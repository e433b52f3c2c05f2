import { hasQuota } from '../carry-quota.ts'
import type { Credential, RegistrationDeps } from '../deps.ts'
import { createFairQueue, type FairQueue } from '../fair-queue.ts'
import type { MintQueue } from '../mint/mint-queue.ts'
import type { MintRequest, NewMintRequest } from '../mint/mint-request.ts'
import { type HandOutDeps, handOut, type Offer } from './hand-out.ts'
import type { Pool } from './pool.ts'
import { createKeyRenamer } from './rename-keys.ts'

/** The way of all requests for keys where there is a pool: a key of the pool while one is ready, otherwise the mint queue. */
export interface HandOutQueue extends Pick<MintQueue, 'submit'> {
  /** Resolves when no key is being handed out, and ends the renaming. */
  close(): Promise<void>
}

/**
 * While more requests wait than half of the keys that are ready, others may wait this long (ms) to join them: tokens take turns
 * only among requests that wait together.
 */
const GATHER_MS = 4
/** The maximum number of keys that are handed out in one commit: a longer one would delay other requests. */
const AT_ONCE = 100

/** The requests for keys of one usage plan. */
interface Line {
  readonly usagePlanId: string
  readonly queue: FairQueue<MintRequest>
  isWaking: boolean
}

export function createHandOutQueue(
  deps: RegistrationDeps & { readonly pool: Pool; readonly mintQueue: Pick<MintQueue, 'submit'> },
): HandOutQueue {
  const { config, log, mintQueue, pool, standingFaults, timing } = deps
  const { heldKeys } = pool
  const renamer = createKeyRenamer(deps)
  const handOutDeps: HandOutDeps = { ...deps, renamer }
  const lines = new Map<string, Line>()
  const running = new Set<Promise<void>>()

  function lineOf(usagePlanId: string): Line {
    const line = lines.get(usagePlanId) ?? {
      usagePlanId,
      queue: createFairQueue<MintRequest>(config.queueMax),
      isWaking: false,
    }
    lines.set(usagePlanId, line)
    return line
  }

  /** A full account stops no key that exists; a plan that does not work does. */
  const canServe = (usagePlanId: string) =>
    heldKeys.ready(usagePlanId) > 0 && standingFaults.findOfPlan(usagePlanId) === undefined

  /**
   * Reports whether a rotation would carry a quota to its key. A key of the pool would keep what was done to it if this process
   * ended before the hand-out, and another client would get it.
   */
  async function carriesQuota({ rotation, plan }: NewMintRequest): Promise<boolean> {
    if (rotation === null) return false
    // If that cannot be read, the mint queue reads it again.
    return hasQuota(deps, plan.usagePlanId, AbortSignal.timeout(timing.undo)).catch(() => true)
  }

  function mint(request: MintRequest): void {
    mintQueue.submit(request).then(request.resolve, request.reject)
  }

  function join(request: MintRequest): void {
    const { usagePlanId } = request.plan
    if (!canServe(usagePlanId)) {
      mint(request)
      return
    }
    const line = lineOf(usagePlanId)
    const dropped = line.queue.add(request.token.id, request)
    if (dropped !== undefined) mint(dropped)
    wake(line)
  }

  /** Hands out in the next turn of the event loop, or a little later: requests that arrived together are served together. */
  function wake(line: Line): void {
    if (line.isWaking) return
    line.isWaking = true
    const serve = () => {
      line.isWaking = false
      serveNext(line)
    }
    setImmediate(() => {
      if (line.queue.size() > heldKeys.ready(line.usagePlanId) / 2) setTimeout(serve, GATHER_MS)
      else serve()
    })
  }

  function serveNext({ usagePlanId, queue }: Line): void {
    while (queue.size() > 0) {
      const offers: Offer[] = []
      for (const request of queue.take(AT_ONCE)) {
        const key = heldKeys.take(usagePlanId)
        if (key === undefined) mint(request)
        else offers.push({ request, key })
      }
      if (offers.length > 0) run(offers)
    }
  }

  function run(offers: readonly Offer[]): void {
    const handing = handOut(handOutDeps, offers, join)
      .catch((err: unknown) => {
        log.error({ err, count: offers.length }, 'handing out failed')
        for (const { request, key } of offers) {
          heldKeys.suspect(key)
          request.reject(err)
        }
      })
      .finally(() => running.delete(handing))
    running.add(handing)
  }

  return {
    async submit(request: NewMintRequest): Promise<Credential> {
      const isServed = request.begun === null && canServe(request.plan.usagePlanId)
      if (!isServed || (await carriesQuota(request))) return mintQueue.submit(request)
      return new Promise((resolve, reject) => {
        join({ ...request, admittedAt: performance.now(), resolve, reject })
      })
    },
    async close() {
      while (running.size > 0) await Promise.allSettled(running)
      await renamer.stop()
    },
  }
}
