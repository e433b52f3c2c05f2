/**
 * Joins the reads of one key that are asked for in one turn of the event loop: a burst of requests with one token is one read
 * a turn. It is made at the end of the turn, so that every reader sees what was written before it asked.
 */
export function joinReads<T>(read: (key: Uint8Array) => Promise<T>): (key: Uint8Array) => Promise<T> {
  const asked = new Map<string, Promise<T>>()
  return (key) => {
    const name = Buffer.from(key).toString('latin1')
    const joined = asked.get(name)
    if (joined !== undefined) return joined
    const reading = new Promise<T>((resolve) => {
      setImmediate(() => {
        asked.delete(name)
        resolve(read(key))
      })
    })
    asked.set(name, reading)
    return reading
  }
}
