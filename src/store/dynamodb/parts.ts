import type { DynamoDbConnection } from './connection.ts'
import { portionsOf } from './portions.ts'
import type { Write } from './writes.ts'

/** What became of parts. */
export interface Written<T> {
  readonly written: T[]
  /** Why some portions could not be written, or it is not known whether they were. */
  readonly errors: unknown[]
}

/**
 * Writes independent parts, each of them whole or not at all, as many as fit in one transaction. A part whose condition is
 * not met drops out, and the others are tried again. A portion that fails does not stop the others.
 * @param writesOf the writes of a part, asked for anew each time
 * @param shared further writes of a transaction, for all parts in it together, on items that they share; where a
 *   condition of those is not met, the whole portion drops out
 */
export async function writeParts<T>(
  db: DynamoDbConnection,
  parts: readonly T[],
  writesOf: (part: T) => readonly Write[],
  shared?: (portion: readonly T[]) => readonly Write[],
): Promise<Written<T>> {
  const portions = portionsOf(parts, (part) => writesOf(part).length + (shared?.([part]).length ?? 0))
  const written: T[] = []
  const errors: unknown[] = []
  const writePortion = async (portion: readonly T[]) => {
    let left = portion
    while (left.length > 0) {
      const own = left.flatMap((part) => writesOf(part).map((write) => ({ part, write })))
      const unmet = await db.transact([...own.map(({ write }) => write), ...(shared?.(left) ?? [])])
      if (unmet.length === 0) return void written.push(...left)
      if (unmet.some((place) => place >= own.length)) return
      const dropped = new Set(unmet.map((place) => own[place]?.part))
      left = left.filter((part) => !dropped.has(part))
    }
  }
  const tryPortion = (portion: readonly T[]) =>
    writePortion(portion).catch((error: unknown) => void errors.push(error))
  // What they share is written by one after the other: side by side they would only be in each other's way.
  if (shared === undefined) await db.each(portions, tryPortion)
  else for (const portion of portions) await tryPortion(portion)
  return { written, errors }
}
