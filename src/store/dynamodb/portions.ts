/** DynamoDB's limit: items of one transaction. */
export const MOST_WRITES = 100

/** Parts, in their order, in portions of which each has at most `most` writes. */
export function portionsOf<T>(parts: readonly T[], sizeOf: (part: T) => number, most = MOST_WRITES): T[][] {
  const portions: T[][] = []
  let room = 0
  for (const part of parts) {
    const size = sizeOf(part)
    if (size > room) {
      portions.push([])
      room = most
    }
    portions.at(-1)?.push(part)
    room -= size
  }
  return portions
}

/** Items, in their order, so many at once. */
export function inPortions<T>(items: readonly T[], most: number): T[][] {
  return portionsOf(items, () => 1, most)
}
