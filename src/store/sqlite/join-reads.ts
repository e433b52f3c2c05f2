/** The longest time for which a read waits for others (ms): in a storm of requests the event loop may not turn for seconds. */
const LONGEST_WAIT_MS = 20

interface JoinedRead<T> {
  readonly result: Promise<T>
  /** The time at which it was asked for first, on the clock of `performance.now()`. */
  readonly since: number
  readonly start: () => void
}

/**
 * Joins the reads of one key that are asked for in one turn of the event loop: a burst of requests with one token is one read
 * a turn. It is made at the end of the turn, or after {@link LONGEST_WAIT_MS}, so that every reader sees what was written before
 * it asked.
 */
export function joinReads<T>(read: (key: Uint8Array) => Promise<T>): (key: Uint8Array) => Promise<T> {
  const joined = new Map<string, JoinedRead<T>>()

  function join(name: string, key: Uint8Array): JoinedRead<T> {
    const { promise: result, resolve } = Promise.withResolvers<T>()
    const one: JoinedRead<T> = {
      result,
      since: performance.now(),
      start() {
        if (joined.get(name) !== one) return
        joined.delete(name)
        resolve(read(key))
      },
    }
    setImmediate(one.start)
    joined.set(name, one)
    return one
  }

  return (key) => {
    const name = Buffer.from(key).toString('latin1')
    const one = joined.get(name) ?? join(name, key)
    if (performance.now() - one.since > LONGEST_WAIT_MS) one.start()
    return one.result
  }
}
