/**
 * A bounded queue that is fair between bootstrap tokens: the items of one token leave in the order of their arrival, and
 * tokens take turns, so that a flood with one token does not delay the others.
 */
export interface FairQueue<T> {
  /** Returns the number of items. */
  size(): number
  /**
   * Adds an item. If the queue is full, it drops the newest item of the token that has the most, which may be this item.
   * @returns the dropped item; `undefined`: there was room
   */
  add(tokenId: string, item: T): T | undefined
  /** Removes and returns the next items, at most `count`. */
  take(count: number): T[]
  /** Returns the first item of each token: the oldest of all is among them. */
  heads(): T[]
  /** Returns the number of items that would leave before a new item of this token. */
  ahead(tokenId: string): number
}

/** @param bound the maximum number of items */
export function createFairQueue<T>(bound: number): FairQueue<T> {
  /** The items of each token, in the order in which the tokens take turns. */
  const lines = new Map<string, T[]>()
  let size = 0

  function longest(): T[] {
    let found: T[] = []
    if (lines.size === size) return found // No token has two items: skip the search of thousands of lines.
    for (const line of lines.values()) if (line.length > found.length) found = line
    return found
  }

  return {
    size: () => size,
    add(tokenId, item) {
      const line = lines.get(tokenId) ?? []
      const full = size >= bound
      const longestLine = full ? longest() : []
      if (full && longestLine.length <= line.length + 1) return item
      line.push(item)
      lines.set(tokenId, line)
      if (full) return longestLine.pop()
      size += 1
      return undefined
    },
    take(count) {
      const taken: T[] = []
      while (taken.length < count) {
        const [next] = lines
        if (next === undefined) break
        const [tokenId, line] = next
        const item = line.shift()
        if (item !== undefined) taken.push(item)
        // The token moves to the end, so that every other token has its turn first.
        lines.delete(tokenId)
        if (line.length > 0) lines.set(tokenId, line)
      }
      size -= taken.length
      return taken
    },
    heads: () => [...lines.values()].flatMap(([first]) => first ?? []),
    ahead(tokenId) {
      const own = lines.get(tokenId)?.length ?? 0
      let ahead = 0
      for (const line of lines.values()) ahead += Math.min(line.length, own + 1)
      return ahead
    },
  }
}
