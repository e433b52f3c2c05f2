/**
 * What waits, first come first served for each token and one after the other between tokens, so that one with a flood
 * does not hold up the others.
 */
export interface FairQueue<T> {
  size(): number
  /**
   * Adds an item. Where that is one too many, somebody has to go: the newest of the token that has most waiting, which
   * may be this one.
   * @returns who has to go; `undefined` while there is room
   */
  add(tokenId: string, item: T): T | undefined
  /** The next items, at most so many. */
  take(count: number): T[]
  /** How many would be taken before a new one of this token. */
  ahead(tokenId: string): number
}

/** @param bound how many may wait */
export function createFairQueue<T>(bound: number): FairQueue<T> {
  /** In the order of their turns. */
  const lines = new Map<string, T[]>()
  let size = 0

  function longest(): T[] {
    let found: T[] = []
    if (lines.size === size) return found // Nobody has two: no need to look at thousands of lines.
    for (const line of lines.values()) if (line.length > found.length) found = line
    return found
  }

  return {
    size: () => size,
    add(tokenId, item) {
      const line = lines.get(tokenId) ?? []
      const full = size >= bound
      const flood = full ? longest() : []
      if (full && flood.length <= line.length + 1) return item
      line.push(item)
      lines.set(tokenId, line)
      if (full) return flood.pop()
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
        // To the end: its next one waits until every other token had its turn.
        lines.delete(tokenId)
        if (line.length > 0) lines.set(tokenId, line)
      }
      size -= taken.length
      return taken
    },
    ahead(tokenId) {
      const own = lines.get(tokenId)?.length ?? 0
      let ahead = 0
      for (const line of lines.values()) ahead += Math.min(line.length, own + 1)
      return ahead
    },
  }
}
