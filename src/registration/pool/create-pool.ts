import { randomBase62 } from '../../auth/random.ts'
import { isLogged } from '../../errors.ts'
import { createAccountRoom } from './account-room.ts'
import { createKeyShelf } from './held-keys.ts'
import type { Pool, PoolUpkeep } from './pool.ts'
import type { PoolDeps } from './pool-deps.ts'
import { createPoolLevels } from './pool-levels.ts'
import { createPoolRound } from './pool-round.ts'
import { createRefill } from './refill.ts'
import { createWarmKeys } from './warm-keys.ts'

/** The holder is renewed so often in the time of its lease. */
const RENEWALS = 3

/** Creates the pool of this process, still empty. */
export function createPool(deps: PoolDeps): Pool {
  const { store, timing, log } = deps
  let wake = () => {}
  const gone = () => {
    wake()
    levels.check()
  }
  const shelf = createKeyShelf({ owner: randomBase62(20), onGone: () => gone() })
  const levels = createPoolLevels(deps, shelf)
  const warm = createWarmKeys(deps, shelf)
  const room = createAccountRoom(deps)
  const round = createPoolRound(deps, {
    ...{ shelf, warm, room, levels },
    refill: createRefill(deps, shelf.owner, warm, room),
  })

  function start(): PoolUpkeep {
    const stopping = new AbortController()
    const { signal } = stopping
    /** Returns a function that runs work and never throws. A fault that lasts is logged once. */
    function attempts(): <T>(work: () => Promise<T>) => Promise<T | undefined> {
      let isFailing = false
      return async (work) => {
        try {
          const result = await work()
          isFailing = false
          return result
        } catch (err) {
          const isKnown = isFailing || isLogged(err)
          isFailing = true
          if (!signal.aborted && !isKnown) log.error({ err }, 'the upkeep of the pool failed; will retry')
          return undefined
        }
      }
    }
    const [attemptRound, attemptRenewal] = [attempts(), attempts()]

    let running: Promise<unknown> = Promise.resolve()
    let timer: NodeJS.Timeout | undefined
    let isRunning = false
    let isWoken = false

    const runSoon = (ms: number) => {
      clearTimeout(timer)
      if (!signal.aborted) timer = setTimeout(run, ms).unref()
    }
    const run = () => {
      isRunning = true
      isWoken = false
      running = attemptRound(() => round.run(signal)).then((isMoreToDo) => {
        isRunning = false
        runSoon(isMoreToDo || isWoken ? timing.poolQuiet : timing.poolRound)
      })
    }
    // The first hand-out after a round decides when the next one comes: hand-outs without a pause do not put it off.
    wake = () => {
      if (isWoken) return
      isWoken = true
      if (!isRunning) runSoon(timing.poolQuiet)
    }
    let renewal: Promise<unknown> = Promise.resolve()
    const renewing = setInterval(() => {
      renewal = attemptRenewal(() => round.renew())
    }, timing.poolLease / RENEWALS).unref()

    run()
    return {
      async stop() {
        stopping.abort()
        wake = () => {}
        clearTimeout(timer)
        clearInterval(renewing)
        // A renewal that is under way would take effect after the release.
        await Promise.all([running, renewal, warm.stop()])
        // Others may take them from here on: requests that still wait get keys of their own.
        shelf.remove(shelf.list().map(({ id }) => id))
        await store.releasePoolHolder(shelf.owner).catch((err: unknown) => {
          log.warn(
            { err },
            'could not give up the keys of the pool; others take them over when the lease is over',
          )
        })
      },
    }
  }

  let upkeep: PoolUpkeep | undefined
  return { heldKeys: shelf, levels: levels.plans, start: () => (upkeep ??= start()) }
}
