import { ServiceError } from '../../errors.ts'

/**
 * Runs `work` and returns its result, or rejects after `ms` milliseconds. Late work continues: it can ask whether it is late,
 * has to clean up after itself, and its late errors are dropped.
 * @throws ServiceError `upstream_unavailable` when the time is over; otherwise what `work` throws
 */
export function withDeadline<T>(ms: number, work: (isLate: () => boolean) => Promise<T>): Promise<T> {
  let late = false
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      late = true
      const detail = 'The registration could not be finished in time.'
      reject(new ServiceError('upstream_unavailable', detail, { retryAfter: 5 }))
    }, ms)
    work(() => late)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer))
  })
}
