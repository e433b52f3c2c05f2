import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { ServiceError } from '../errors.ts'
import type { Log } from '../log.ts'

/** The pause before a change is tried again grows from the first to the last, each with full jitter. */
const FIRST_PAUSE_MS = 100
const LAST_PAUSE_MS = 500

/** What a change was answered; `conflict`: the message of a 409. */
interface Answer {
  readonly conflict?: string
}

/**
 * API Gateway changes one thing at a time in a Region. Here the changes of this process stand in line. Those of others do
 * not: one that meets another is tried again.
 */
export interface ChangeLine {
  /**
   * Makes a change when its turn comes, and again as long as API Gateway is busy with another one.
   * @throws ServiceError `upstream_unavailable` when `signal` ends that
   */
  run<T extends Answer>(signal: AbortSignal, change: () => Promise<T>): Promise<T>
}

/** @param log hears of every change that met others, how often, and how often that was so since the start */
export function createChangeLine(log: Log): ChangeLine {
  const line = pLimit(1)
  let total = 0
  return {
    async run(signal, change) {
      let conflicts = 0
      try {
        for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
          const answer = await line(change)
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
      effect: 'possible', // Such an answer is no proof that nothing was done.
    })
  }
}

/** "Unable to complete operation due to concurrent modification. Please try again later." */
function isConcurrentChange(conflict: string): boolean {
  return /concurrent/i.test(conflict)
}
