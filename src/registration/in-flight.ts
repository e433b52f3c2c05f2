import { randomBase62 } from '../auth/secret.ts'
import { ServiceError } from '../errors.ts'

/** By what others join a piece of work: the request's key, and what the request was. */
export interface JoinKey {
  readonly keyHash: Uint8Array
  readonly requestHash: Uint8Array
}

/** The registrations that this process is working on, including those whose caller was told to come back. */
export interface InFlight<T> {
  /** Begins the owner of every lease that this process takes. */
  readonly ownerPrefix: string
  /**
   * Starts `work` if there is room and answers its promise; others may {@link join} it.
   * @throws ServiceError `overloaded`
   */
  start(work: () => Promise<T>, joinKey?: JoinKey): Promise<T>
  /** The work that was started under this key and has not ended, and for which request; if any. */
  join(keyHash: Uint8Array): { readonly result: Promise<T>; readonly requestHash: Uint8Array } | undefined
  /** How many there are. */
  count(): number
  /** Resolves when nothing is in flight any more. */
  settled(): Promise<void>
}

/** @param limit how many may be in flight at once */
export function createInFlight<T>(limit: number): InFlight<T> {
  const running = new Set<Promise<T>>()
  const byKey = new Map<string, { result: Promise<T>; requestHash: Uint8Array }>()
  const nameOf = (keyHash: Uint8Array) => Buffer.from(keyHash).toString('base64')
  return {
    ownerPrefix: `${randomBase62(12)}.`,
    async start(work, joinKey) {
      if (running.size >= limit) {
        throw new ServiceError('overloaded', 'Too many registrations are waiting for API Gateway.', {
          retryAfter: 5,
        })
      }
      const promise = work()
      running.add(promise)
      const name = joinKey && nameOf(joinKey.keyHash)
      if (joinKey && name) byKey.set(name, { result: promise, requestHash: joinKey.requestHash })
      try {
        return await promise
      } finally {
        running.delete(promise)
        if (name) byKey.delete(name)
      }
    },
    join: (keyHash) => byKey.get(nameOf(keyHash)),
    count: () => running.size,
    async settled() {
      while (running.size > 0) await Promise.allSettled(running)
    },
  }
}
