/** Characters that could forge a line of output or reorder one, and invisible ones. Joiners belong to some scripts. */
const UNPRINTABLE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

/** Returns `true` if a text has no control, bidirectional or invisible character. */
export function isPrintable(text: string): boolean {
  return text.search(UNPRINTABLE) === -1
}

/** Escapes control, bidirectional and invisible characters in a line, as in `\u{202e}`: it may hold what others wrote. */
export function printable(line: string): string {
  return line.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)
}

/** Formats milliseconds since the epoch for programs: RFC 3339, UTC. `null` stays `null`. */
export function isoTime(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}

/** Formats milliseconds since the epoch for people: RFC 3339, UTC, or `never` for `null`. */
export function showTime(ms: number | null): string {
  return isoTime(ms) ?? 'never'
}

type Row = readonly string[]

/** Returns the widths of columns: each as wide as its widest cell. */
export function columnWidths(rows: readonly Row[]): number[] {
  const widths: number[] = []
  for (const row of rows)
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, printable(cell).length)
    })
  return widths
}

/** Formats rows in columns of these widths. A wider cell shifts the rest of its row. */
export function formatRows(rows: readonly Row[], widths: readonly number[]): string {
  const format = (row: Row) => row.map((cell, i) => printable(cell).padEnd(widths[i] ?? 0)).join('  ')
  return rows.map((row) => `${format(row).trimEnd()}\n`).join('')
}

/** Formats rows under a heading, in columns as wide as their widest cell. */
export function formatTable(heading: Row, rows: readonly Row[]): string {
  const all = [heading, ...rows]
  return formatRows(all, columnWidths(all))
}

/** Formats one record, with a line for each name and value. */
export function formatRecord(lines: readonly (readonly [name: string, value: string])[]): string {
  return lines.map(([name, value]) => `${name.padEnd(16)} ${printable(value)}\n`).join('')
}

/** Formats JSON on several lines. Control, bidirectional and invisible characters in it are escaped. */
export function formatJson(value: unknown): string {
  // Between the strings there is none of them but the line feed.
  return JSON.stringify(value, null, 2).replace(UNPRINTABLE, (found) =>
    found === '\n' ? found : found.split('').map(escapedUnit).join(''),
  )
}

/** Escapes a UTF-16 code unit as JSON does. */
function escapedUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}
