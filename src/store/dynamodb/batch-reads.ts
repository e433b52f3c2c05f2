import type { Item, Key } from './expressions.ts'
import { readKey } from './item-codec.ts'

/** Simultaneous requests; reads that are asked for meanwhile are sent together with the next one. */
const READS_AT_ONCE = 6

interface Wanted {
  readonly key: Key
  readonly resolve: (item: Item | undefined) => void
  readonly reject: (error: unknown) => void
}

const nameOf = ({ pk, sk }: Key) => `${pk} ${sk}`

/**
 * Reads single items. A single read is sent at once; while several are waiting they are sent together, and each item is read
 * only once: a thousand requests with one token are a few reads. A read is never answered by one that was sent before it was
 * asked for, so every reader sees what was written before.
 * @param readAtOnce the most items of one `readAll`
 */
export function batchReads(
  readOne: (key: Key) => Promise<Item | undefined>,
  readAll: (keys: readonly Key[]) => Promise<readonly Item[]>,
  readAtOnce: number,
): (key: Key) => Promise<Item | undefined> {
  const waiting = new Map<string, Wanted[]>()
  let running = 0

  function next(): void {
    while (running < READS_AT_ONCE && waiting.size > 0) {
      const taken = [...waiting.entries().take(readAtOnce)]
      for (const [name] of taken) waiting.delete(name)
      running += 1
      void read(taken.map(([, wanted]) => wanted)).finally(() => {
        running -= 1
        next()
      })
    }
  }

  async function read(groups: readonly (readonly Wanted[])[]): Promise<void> {
    const keys = groups.flatMap(([first]) => first?.key ?? [])
    try {
      const [only, second] = keys
      const single = only !== undefined && second === undefined
      const items = single ? [await readOne(only)] : await readAll(keys)
      const found = new Map(items.flatMap((item) => (item === undefined ? [] : [[itemName(item), item]])))
      for (const { key, resolve } of groups.flat()) resolve(found.get(nameOf(key)))
    } catch (error) {
      for (const { reject } of groups.flat()) reject(error)
    }
  }

  return (key) =>
    new Promise((resolve, reject) => {
      const name = nameOf(key)
      const same = waiting.get(name) ?? []
      same.push({ key, resolve, reject })
      waiting.set(name, same)
      next()
    })
}

const itemName = (item: Item) => nameOf(readKey(item))
