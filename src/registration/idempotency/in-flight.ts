/** One who asked. */
export interface Waiter {
  /** Whether it still waits for the answer: was not told that it took too long, and did not hang up. */
  waits(): boolean
  /** See {@link RegistrationCall}. */
  readonly readyBy: number | null
}

/** By what others join a piece of work: the request's key, what the request was, and who waits for it. */
export interface Joinable {
  readonly keyHash: Uint8Array
  readonly requestHash: Uint8Array
  readonly waiters: Waiter[]
}

/** The registrations that this process is working on, including those whose caller was told to come back. */
export interface InFlight<T> {
  /** Starts `work` and answers its promise; others may {@link find} it. */
  start(work: () => Promise<T>, joinable?: Joinable): Promise<T>
  /** The work that was started under this key and has not ended, if any. */
  find(keyHash: Uint8Array): (Joinable & { readonly result: Promise<T> }) | undefined
  /** How many there are. */
  count(): number
  /** Resolves when nothing is in flight any more. */
  settled(): Promise<void>
}

export function createInFlight<T>(): InFlight<T> {
  const running = new Set<Promise<T>>()
  const byKey = new Map<string, Joinable & { result: Promise<T> }>()
  const nameOf = (keyHash: Uint8Array) => Buffer.from(keyHash).toString('base64')
  return {
    async start(work, joinable) {
      const promise = work()
      running.add(promise)
      const name = joinable && nameOf(joinable.keyHash)
      if (joinable && name) byKey.set(name, { ...joinable, result: promise })
      try {
        return await promise
      } finally {
        running.delete(promise)
        if (name) byKey.delete(name)
      }
    },
    find: (keyHash) => byKey.get(nameOf(keyHash)),
    count: () => running.size,
    async settled() {
      while (running.size > 0) await Promise.allSettled(running)
    },
  }
}
