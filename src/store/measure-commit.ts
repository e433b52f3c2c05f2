import { ServiceError } from '../errors.ts'
import type { Meter } from '../meter.ts'

export type OnCommit = Meter['commit']

/** Makes a write transaction, and reports its end. @param onCommit `undefined`: it is not reported */
export function measureCommit<T>(onCommit: OnCommit | undefined, commit: () => Promise<T>): Promise<T> {
  return onCommit === undefined ? commit() : measured(onCommit, commit)
}

async function measured<T>(onCommit: OnCommit, commit: () => Promise<T>): Promise<T> {
  const startedAt = performance.now()
  let succeeded = true
  try {
    return await commit()
  } catch (error) {
    // Any other error is not about the store.
    succeeded = !(error instanceof ServiceError)
    throw error
  } finally {
    onCommit({ ms: performance.now() - startedAt, succeeded })
  }
}
