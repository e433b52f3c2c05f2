import { createFairQueue } from '../fair-queue.ts'

/** The maximum number of waiting probes. One behind them would get its turn only after its caller stopped waiting. */
const MAX_WAITING = 10_000

/** The queue of probes: one turn at a time, with a minimum time in between. Bootstrap tokens take turns. */
export interface ProbeQueue {
  /**
   * Waits for a turn.
   * @param isWanted is called when the turn comes; if it returns `false`, the next in the queue gets the turn at once
   * @returns `true`: probe now; `false`: the turn is no longer wanted, or the queue is full or closed
   */
  turn(tokenId: string, isWanted: () => boolean): Promise<boolean>
  /** Closes the queue: all present and later calls of {@link turn} return `false`. */
  close(): void
}

interface Waiting {
  readonly isWanted: () => boolean
  readonly resolve: (isTurn: boolean) => void
}

/** @param spacing the minimum time between two turns (ms) */
export function createProbeQueue(spacing: number): ProbeQueue {
  const queue = createFairQueue<Waiting>(MAX_WAITING)
  let closed = false
  let nextAt = 0
  let timer: NodeJS.Timeout | undefined

  function giveNextTurn(): void {
    timer = undefined
    for (let [next] = queue.take(1); next !== undefined; [next] = queue.take(1)) {
      const isTurn = !closed && next.isWanted()
      next.resolve(isTurn)
      if (!isTurn) continue
      nextAt = performance.now() + spacing
      timer = setTimeout(giveNextTurn, spacing)
      return
    }
  }

  return {
    turn(tokenId, isWanted) {
      if (closed) return Promise.resolve(false)
      return new Promise((resolve) => {
        const dropped = queue.add(tokenId, { isWanted, resolve })
        dropped?.resolve(false)
        timer ??= setTimeout(giveNextTurn, Math.max(0, nextAt - performance.now()))
      })
    },
    close() {
      closed = true
      clearTimeout(timer)
      giveNextTurn()
    },
  }
}
