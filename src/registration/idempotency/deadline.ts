import type { ServiceError } from '../../errors.ts'

/**
 * Runs `work` and returns its result, or rejects with `late` after `ms` milliseconds. Late work continues: it can ask whether
 * it is late, has to clean up after itself, and its late errors are dropped.
 */
export function withDeadline<T>(
  ms: number,
  late: () => ServiceError,
  work: (isLate: () => boolean) => Promise<T>,
): Promise<T> {
  let isLate = false
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      isLate = true
      reject(late())
    }, ms)
    work(() => isLate)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer))
  })
}
