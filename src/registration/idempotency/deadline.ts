import { ServiceError } from '../../errors.ts'

/** A signal that aborts after `ms` milliseconds unless it is cancelled before. */
export function abortAfter(ms: number): { signal: AbortSignal; cancel(): void } {
  // Not AbortSignal.timeout: its timer would keep all that listens to it in memory until it fires.
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), ms)
  return { signal: controller.signal, cancel: () => clearTimeout(timer) }
}

/**
 * Runs `work` and answers its result, or refuses after `ms` milliseconds. `work` can ask whether it is late, and goes
 * on: it has to clean up after itself, and what it throws by then is nobody's any more.
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
