/** Formats milliseconds since the epoch for programs: RFC 3339, UTC. `null` stays `null`. */
export function isoTime(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}

/** Formats milliseconds since the epoch for people: RFC 3339, UTC, or `never` for `null`. */
export function showTime(ms: number | null): string {
  return isoTime(ms) ?? 'never'
}

/** Formats rows under a heading, in columns as wide as their widest cell. */
export function formatTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  return [heading, ...rows]
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

/** Formats one record, with a line for each name and value. */
export function formatRecord(lines: readonly (readonly [name: string, value: string])[]): string {
  return lines.map(([name, value]) => `${name.padEnd(16)} ${value}\n`).join('')
}

/** Prints JSON on stdout, for programs. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}
