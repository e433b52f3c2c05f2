/** DynamoDB's limit: the items of one transaction. */
export const MAX_WRITES = 100

/** Splits parts, in their order, into chunks whose sizes add up to at most `max`. A part that is larger has its own. */
export function chunkBySize<T>(parts: readonly T[], sizeOf: (part: T) => number, max = MAX_WRITES): T[][] {
  const chunks: T[][] = []
  let room = 0
  for (const part of parts) {
    const size = sizeOf(part)
    if (size > room) {
      chunks.push([])
      room = max
    }
    chunks.at(-1)?.push(part)
    room -= size
  }
  return chunks
}

/** Splits items, in their order, into chunks of at most `max`. */
export function chunk<T>(items: readonly T[], max: number): T[][] {
  return chunkBySize(items, () => 1, max)
}
