import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'

/** The time for which an operation waits for the lock, counted from its arrival (ms). Writes take about a millisecond. */
const LONGEST_WAIT_MS = 2_000
/** The most operations that wait. Each costs memory only: one of them probes the lock for all. */
const MAX_WAITING = 10_000
/** The first and the longest pause between two probes (ms). A probe blocks the process for less than 0.1 ms. */
const FIRST_PAUSE_MS = 1
const LONGEST_PAUSE_MS = 10

/** The operations of this process that wait while another process has locked the database, in the order of their arrival. */
export interface LockQueue {
  /** Runs `work` at once if nothing waits, otherwise after all that waits. Rejects with what `work` throws. */
  inOrder<T>(work: () => T): Promise<T>
  /** Runs `work` at once, and behind all that waits only if it needs the lock after all. */
  atOnce<T>(work: () => T): Promise<T>
}

interface Waiting {
  readonly until: number
  /** Runs the operation, and returns `undefined`, or the error that says that the database is locked. */
  readonly attempt: () => unknown
  readonly giveUp: (locked: unknown) => void
}

/**
 * Creates a queue. While the database is locked, only the first operation tries again: attempts of all of them would block
 * the process for as long as there are operations.
 * @param isLocked recognises the error of an operation that another process's lock stopped, before it had any effect
 * @param unavailable makes the error of an operation that waited for too long, or found the queue full
 */
export function createLockQueue(
  isLocked: (error: unknown) => boolean,
  unavailable: (cause: unknown) => Error,
): LockQueue {
  const waiting: Waiting[] = []

  async function serve(locked: unknown): Promise<void> {
    let pause = FIRST_PAUSE_MS
    while (waiting.length > 0) {
      // Between two writes, requests that need no lock have a turn. The random part keeps two processes out of step.
      await (pause === 0 ? nextTurn() : sleep(pause * (0.5 + Math.random() / 2)))
      giveUpLate(locked)
      const stillLocked = waiting[0]?.attempt()
      if (stillLocked === undefined) {
        waiting.shift()
        pause = 0
      } else {
        locked = stillLocked
        pause = Math.min(Math.max(FIRST_PAUSE_MS, 2 * pause), LONGEST_PAUSE_MS)
      }
    }
  }

  /** Rejects the operations that have waited for too long. They are the first, because all may wait equally long. */
  function giveUpLate(locked: unknown): void {
    for (let [first] = waiting; first !== undefined && performance.now() >= first.until; [first] = waiting) {
      waiting.shift()
      first.giveUp(locked)
    }
  }

  function wait<T>(work: () => T, locked: unknown): Promise<T> {
    if (waiting.length >= MAX_WAITING) return Promise.reject(unavailable(locked))
    return new Promise<T>((resolve, reject) => {
      const attempt = () => {
        try {
          resolve(work())
        } catch (error) {
          if (isLocked(error)) return error
          reject(error)
        }
        return undefined
      }
      const giveUp = (cause: unknown) => reject(unavailable(cause))
      waiting.push({ until: performance.now() + LONGEST_WAIT_MS, attempt, giveUp })
      if (waiting.length === 1) void serve(locked)
    })
  }

  async function atOnce<T>(work: () => T): Promise<T> {
    try {
      return work()
    } catch (error) {
      if (!isLocked(error)) throw error
      return wait(work, error)
    }
  }

  return {
    atOnce,
    inOrder: (work) => (waiting.length === 0 ? atOnce(work) : wait(work, new Error('other operations wait'))),
  }
}
