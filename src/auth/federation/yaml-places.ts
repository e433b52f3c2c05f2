import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
} from 'yaml'

/** A place in a text. Lines and columns begin at 1. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** A fault at a place. */
export interface Fault extends Place {
  readonly message: string
}

/** The content of a YAML document, and the places of its parts. */
export interface Located {
  readonly content: unknown
  readonly faults: readonly Fault[]
  /** Returns the place of a part or, if it is missing, of what should contain it. @param of the member's name, or its value */
  placeOf(path: readonly PropertyKey[], of?: 'name' | 'value'): Place
}

/** The most values that aliases may stand for. */
const MAX_ALIASES = 100

const TOO_DEEP = 'the file is nested too deeply'

/** Parses YAML 1.2, of which JSON is a part. It accepts no tags of applications, and no name twice in an object. */
export function parseYaml(text: string): Located {
  const lines = new LineCounter()
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  try {
    const document = parseDocument(text, {
      ...{ lineCounter: lines, prettyErrors: false, stringKeys: true, version: '1.2', schema: 'core' },
    })
    const faults = [...document.errors, ...document.warnings].map(({ message, pos: [offset] }) => ({
      ...placeAt(offset),
      message: /call stack/.test(message) ? TOO_DEEP : message,
    }))
    visit(document, {
      Pair(_, { key }) {
        // zod would leave it out without a word.
        if (isScalar(key) && key.value === '__proto__')
          faults.push({ ...placeAt(key.range?.[0] ?? 0), message: 'the name __proto__ is not allowed' })
      },
    })
    return {
      content: faults.length > 0 ? undefined : document.toJS({ maxAliasCount: MAX_ALIASES }),
      faults,
      placeOf: (path, of = 'value') => placeAt(offsetOf(document, path, of)),
    }
  } catch (error) {
    // Too many aliases, or nested so deeply that the stack ends.
    const message =
      error instanceof RangeError ? TOO_DEEP : String(error instanceof Error ? error.message : error)
    const place = { line: 1, column: 1 }
    return { content: undefined, faults: [{ ...place, message }], placeOf: () => place }
  }
}

function offsetOf(document: Document.Parsed, path: readonly PropertyKey[], of: 'name' | 'value'): number {
  let node: unknown = document.contents
  let offset = startOf(node) ?? 0
  for (const [i, segment] of path.entries()) {
    const target: unknown = isAlias(node) ? node.resolve(document) : node
    if (isMap(target)) {
      const pair = target.items.find(({ key }) => isScalar(key) && String(key.value) === String(segment))
      if (pair === undefined) break
      node = pair.value
      const named = of === 'name' && i === path.length - 1
      offset = (named ? undefined : startOf(node)) ?? startOf(pair.key) ?? offset
    } else if (isSeq(target)) {
      node = target.items[Number(segment)]
      offset = startOf(node) ?? offset
    } else {
      break
    }
  }
  return offset
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined
}
