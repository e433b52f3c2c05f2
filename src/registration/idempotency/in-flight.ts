/** A caller of a request that is in flight. */
export interface Waiter {
  /** Reports whether it still waits: its deadline has not passed, and it has not disconnected. */
  waits(): boolean
  /** Reports whether it disconnected before it had a response. */
  hasLeft(): boolean
  /** {@link RegistrationCall.readyBy} */
  readonly readyBy: number | null
}

/** The properties by which retries join a running request: its idempotency key, its body, and its waiting callers. */
export interface Joinable {
  readonly keyHash: Uint8Array
  readonly requestHash: Uint8Array
  readonly waiters: Waiter[]
}

/** The requests that this process is working on, including those whose caller received a retryable error at its deadline. */
export interface InFlight<T> {
  /** Starts `work` and returns its promise. If it is joinable, retries can {@link find} it. */
  start(work: () => Promise<T>, joinable?: Joinable): Promise<T>
  /** Returns the running work with this idempotency key. */
  find(keyHash: Uint8Array): (Joinable & { readonly result: Promise<T> }) | undefined
  /** Returns the number of running requests. */
  count(): number
  /** Resolves when no request is running. */
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
