import { columnWidths, formatJson, formatRows, printable } from './format.ts'

/** The records of a list that are read and printed at once. */
const PAGE = 500

/** A program that reads the output, such as `head`, closed it. */
let isClosed = false

/**
 * Lets a command whose output was closed (`| head -1`) finish quietly, with what it has to do but without further output. Any
 * other fault of stdout fails the command: its result, perhaps a secret, is lost.
 */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    isClosed = true
    if (error.code === 'EPIPE') return
    note(`firstkey: the output cannot be written: ${error.message}`)
    process.exitCode = 1
  })
  process.stderr.on('error', () => undefined)
}

/** Prints a line of the result on stdout. */
export function print(line: string): void {
  write(`${printable(line)}\n`)
}

/** Prints formatted lines of the result on stdout. */
export function write(lines: string): void {
  if (!isClosed) process.stdout.write(lines)
}

/** Prints a line for the operator on stderr: a note, a warning, progress. */
export function note(line: string): void {
  process.stderr.write(`${printable(line)}\n`)
}

/** Prints JSON on stdout, for programs. */
export function printJson(value: unknown): void {
  write(`${formatJson(value)}\n`)
}

/**
 * Reads a list page by page, so that a long one needs little memory. Ends early if the output is closed.
 * @param read returns the entries after the given one, at most as many as asked for
 */
export async function* inPages<T>(
  limit: number,
  read: (after: T | undefined, limit: number) => Promise<readonly T[]>,
): AsyncGenerator<readonly T[]> {
  let last: T | undefined
  for (let left = limit; left > 0 && !isClosed; ) {
    const asked = Math.min(PAGE, left)
    const page = await read(last, asked)
    if (page.length > 0) yield page
    if (page.length < asked) return
    left -= page.length
    last = page.at(-1)
  }
}

/** The two forms of a list: a table for people, and JSON for programs. */
export interface ListForm<T> {
  readonly heading: readonly string[]
  row(entry: T): readonly string[]
  json(entry: T): object
}

/**
 * Prints a list as it is read: as a JSON array, or as a table whose columns are as wide as the first page needs. An empty
 * table is not printed.
 * @returns the number of entries, and the last one
 */
export async function printList<T>(
  pages: AsyncIterable<readonly T[]> | Iterable<readonly T[]>,
  { heading, row, json }: ListForm<T>,
  asJson: boolean,
): Promise<{ count: number; last: T | undefined }> {
  let [count, last, widths] = [0, undefined as T | undefined, undefined as number[] | undefined]
  if (asJson) write('[')
  for await (const page of pages) {
    if (page.length === 0) continue
    if (asJson) {
      for (const [i, entry] of page.entries())
        write(`${count + i === 0 ? '' : ','}\n  ${formatJson(json(entry)).replaceAll('\n', '\n  ')}`)
    } else {
      const rows = widths === undefined ? [heading, ...page.map(row)] : page.map(row)
      widths ??= columnWidths(rows)
      write(formatRows(rows, widths))
    }
    count += page.length
    last = page.at(-1)
  }
  if (asJson) write(count === 0 ? ']\n' : '\n]\n')
  return { count, last }
}
