import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { ServiceError } from '../errors.ts'
import type { Log } from '../log.ts'

/** The pause before a change is retried grows from the first to the last value (ms), with full jitter. */
const FIRST_PAUSE_MS = 100
const LAST_PAUSE_MS = 500

/** The response to a change; `conflict` is the message of a 409. */
interface Answer {
  readonly conflict?: string
}

/**
 * The queue for changes: API Gateway makes only one change at a time in a Region. The changes of this process wait for
 * one another. Those of other processes do not: a change that collides with one of them is retried.
 */
export interface ChangeQueue {
  /**
   * Makes a change when its turn comes, and retries it while API Gateway is busy with another change.
   * @param ready is awaited before each try waits for its turn, so that the others do not wait for it
   * @throws ServiceError `upstream_unavailable` if `signal` aborts before a retry; what `change` throws
   */
  run<T extends Answer>(
    signal: AbortSignal,
    change: () => Promise<T>,
    ready?: () => Promise<void>,
  ): Promise<T>
}

/** Creates a queue. @param log records each change that collided with others: its conflicts, and the total so far */
export function createChangeQueue(log: Log): ChangeQueue {
  const queue = pLimit(1)
  let total = 0
  return {
    async run(signal, change, ready) {
      let conflicts = 0
      try {
        for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
          await ready?.()
          const answer = await queue(change)
          if (answer.conflict === undefined || !isConcurrentChange(answer.conflict)) return answer
          conflicts += 1
          await pauseFor(Math.random() * pause, signal)
        }
      } finally {
        total += conflicts
        if (conflicts > 0)
          log.info({ conflicts, conflicts_since_start: total }, 'API Gateway was busy with other changes')
      }
    },
  }
}

async function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal })
  } catch {
    throw new ServiceError('upstream_unavailable', 'API Gateway is busy with other changes.', {
      retryAfter: 5,
      effect: 'possible', // A conflict response does not prove that nothing was changed.
    })
  }
}

/** "Unable to complete operation due to concurrent modification. Please try again later." */
export function isConcurrentChange(conflict: string): boolean {
  return /concurrent/i.test(conflict)
}
