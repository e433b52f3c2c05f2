import { chunkBySize } from './chunk.ts'
import type { DynamoDbConnection } from './connection.ts'
import type { Write } from './expressions.ts'

/** The result of {@link transactInChunks}. A part that is in neither list was refused by one of its conditions. */
export interface Written<T> {
  readonly written: T[]
  /** Parts whose chunk failed. They are written or not: a response may have been lost. */
  readonly unclear: T[]
  /** The errors of those chunks. */
  readonly errors: unknown[]
}

/**
 * Makes one write for each item, several at once. A write that fails does not stop the others.
 * @returns the items whose write was made; the others had an unmet condition, or failed
 * @throws the first error, if no write was made
 */
export async function writeEach<T>(
  db: DynamoDbConnection,
  items: readonly T[],
  writeOf: (item: T) => Write,
): Promise<T[]> {
  const errors: unknown[] = []
  const made = await db.each(items, async (item) => {
    try {
      return await db.write(writeOf(item))
    } catch (error) {
      errors.push(error)
      return false
    }
  })
  const written = items.filter((_, i) => made[i])
  if (errors.length > 0 && written.length === 0) throw errors[0]
  return written
}

interface Options<T> {
  readonly sizeOf?: (part: T) => number
  readonly shared?: (chunk: readonly T[]) => readonly Write[]
}

/**
 * Writes independent parts, each as a whole or not at all, as many in one transaction as fit. A part whose condition is not
 * met drops out, and the others are tried again. A chunk that fails does not stop the others.
 * @param writesOf the writes of a part, made anew for each attempt
 * @param options.sizeOf the number of those writes; the length of what `writesOf` returns, if it is left out
 * @param options.shared further writes of a transaction on items that all its parts share; if a condition of those is not
 *   met, the whole chunk drops out
 */
export async function transactInChunks<T>(
  db: DynamoDbConnection,
  parts: readonly T[],
  writesOf: (part: T) => readonly Write[],
  { sizeOf = (part) => writesOf(part).length, shared }: Options<T> = {},
): Promise<Written<T>> {
  const chunks = chunkBySize(parts, (part) => sizeOf(part) + (shared?.([part]).length ?? 0))
  const result: Written<T> = { written: [], unclear: [], errors: [] }
  const write = async (chunk: readonly T[]) => {
    let left = chunk
    try {
      while (left.length > 0) {
        const own = left.flatMap((part) => writesOf(part).map((write) => ({ part, write })))
        const unmet = await db.transact([...own.map(({ write }) => write), ...(shared?.(left) ?? [])])
        if (unmet.length === 0) return void result.written.push(...left)
        if (unmet.some((place) => place >= own.length)) return
        const dropped = new Set(unmet.map((place) => own[place]?.part))
        left = left.filter((part) => !dropped.has(part))
      }
    } catch (error) {
      result.unclear.push(...left)
      result.errors.push(error)
    }
  }
  // Chunks with shared items are written one after the other: side by side they would only conflict.
  if (shared === undefined) await db.each(chunks, write)
  else for (const chunk of chunks) await write(chunk)
  return result
}
