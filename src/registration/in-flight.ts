import { ServiceError } from '../errors.ts'

/** The registrations that this process is working on, including those whose caller was told to come back. */
export interface InFlight {
  /**
   * Starts `work` if there is room and answers its promise.
   * @throws ServiceError `overloaded`
   */
  start<T>(work: () => Promise<T>): Promise<T>
  /** How many there are. */
  count(): number
  /** Resolves when nothing is in flight any more. */
  settled(): Promise<void>
}

/** @param limit how many may be in flight at once */
export function createInFlight(limit: number): InFlight {
  const running = new Set<Promise<unknown>>()
  return {
    async start(work) {
      if (running.size >= limit) {
        throw new ServiceError('overloaded', 'Too many registrations are waiting for API Gateway.', {
          retryAfter: 5,
        })
      }
      const promise = work()
      running.add(promise)
      try {
        return await promise
      } finally {
        running.delete(promise)
      }
    },
    count: () => running.size,
    async settled() {
      while (running.size > 0) await Promise.allSettled(running)
    },
  }
}
