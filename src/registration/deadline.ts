import { ServiceError } from '../errors.ts'

/**
 * Runs `work` and answers its result, or refuses after `ms` milliseconds. `work` is told by its signal and goes on:
 * it has to clean up after itself, and what it throws by then is nobody's any more.
 * @throws ServiceError `upstream_unavailable` when the time is over; otherwise what `work` throws
 */
export function withDeadline<T>(ms: number, work: (late: AbortSignal) => Promise<T>): Promise<T> {
  // Not AbortSignal.timeout: its timer would keep all that listens to it in memory until it fires.
  const late = new AbortController()
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      late.abort()
      reject(
        new ServiceError('upstream_unavailable', 'The registration could not be finished in time.', {
          retryAfter: 5,
        }),
      )
    }, ms)
    work(late.signal)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer))
  })
}
