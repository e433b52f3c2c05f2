import { createFairQueue } from '../fair-queue.ts'

/** How many may stand in line: more would not have a turn in any time that is waited. */
const MOST_WAITING = 10_000

/** Whose turn it is to probe the API: one at a time, with a pause between, tokens in turns. */
export interface ProbeQueue {
  /**
   * Waits for a turn. Who does not want it any more when it comes gives it up, at no cost to the others.
   * @returns whether it is this one's turn; `false`: given up, no room, or the line is closed
   */
  turn(tokenId: string, isWanted: () => boolean): Promise<boolean>
  /** No turns any more, for those in line neither. */
  close(): void
}

interface Waiting {
  readonly isWanted: () => boolean
  readonly go: (isTurn: boolean) => void
}

/** @param spacing the least time between two turns (ms) */
export function createProbeQueue(spacing: number): ProbeQueue {
  const queue = createFairQueue<Waiting>(MOST_WAITING)
  let closed = false
  let nextAt = 0
  let timer: NodeJS.Timeout | undefined

  function callNext(): void {
    timer = undefined
    for (let [next] = queue.take(1); next !== undefined; [next] = queue.take(1)) {
      const isTurn = !closed && next.isWanted()
      next.go(isTurn)
      if (!isTurn) continue
      nextAt = performance.now() + spacing
      timer = setTimeout(callNext, spacing)
      return
    }
  }

  return {
    turn(tokenId, isWanted) {
      if (closed) return Promise.resolve(false)
      return new Promise((go) => {
        queue.add(tokenId, { isWanted, go })?.go(false)
        timer ??= setTimeout(callNext, Math.max(0, nextAt - performance.now()))
      })
    },
    close() {
      closed = true
      clearTimeout(timer)
      callNext()
    },
  }
}
