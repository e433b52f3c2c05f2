/** By what others join a piece of work: the request's key, and what the request was. */
export interface JoinKey {
  readonly keyHash: Uint8Array
  readonly requestHash: Uint8Array
}

/** The registrations that this process is working on, including those whose caller was told to come back. */
export interface InFlight<T> {
  /** Starts `work` and answers its promise; others may {@link join} it. */
  start(work: () => Promise<T>, joinKey?: JoinKey): Promise<T>
  /** The work that was started under this key and has not ended, and for which request; if any. */
  join(keyHash: Uint8Array): { readonly result: Promise<T>; readonly requestHash: Uint8Array } | undefined
  /** How many there are. */
  count(): number
  /** Resolves when nothing is in flight any more. */
  settled(): Promise<void>
}

export function createInFlight<T>(): InFlight<T> {
  const running = new Set<Promise<T>>()
  const byKey = new Map<string, { result: Promise<T>; requestHash: Uint8Array }>()
  const nameOf = (keyHash: Uint8Array) => Buffer.from(keyHash).toString('base64')
  return {
    async start(work, joinKey) {
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
