import { ServiceError } from '../../errors.ts'

/** Creates a signal that aborts after `ms` milliseconds unless it is cancelled before. */
export function abortAfter(ms: number): { signal: AbortSignal; cancel(): void } {
  // Not AbortSignal.timeout: its timer would keep all its listeners in memory until it fires.
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), ms)
  return { signal: controller.signal, cancel: () => clearTimeout(timer) }
}

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
