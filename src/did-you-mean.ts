/** Longer names are not compared. */
const LONGEST = 64

/** Returns ` (did you mean "…"?)` with the known name that a mistyped one is closest to; empty if none is close. */
export function didYouMean(mistyped: string, known: Iterable<string>): string {
  let closest: { name: string; distance: number } | undefined
  for (const name of known) {
    const distance = editDistance(mistyped.toLowerCase(), name.toLowerCase())
    if (distance < (closest?.distance ?? 1 + Math.floor(name.length / 3))) closest = { name, distance }
  }
  return closest === undefined ? '' : ` (did you mean "${closest.name}"?)`
}

/** The fewest insertions, deletions, replacements and swaps of neighbours that turn one text into the other. */
function editDistance(from: string, to: string): number {
  if (from.length > LONGEST || to.length > LONGEST) return Number.POSITIVE_INFINITY
  let [beforeLast, last]: [number[], number[]] = [[], Array.from({ length: to.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= from.length; i++) {
    const row = [i]
    for (let j = 1; j <= to.length; j++) {
      const cost = from[i - 1] === to[j - 1] ? 0 : 1
      const options = [(row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, (last[j - 1] ?? 0) + cost]
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1])
        options.push((beforeLast[j - 2] ?? 0) + 1)
      row.push(Math.min(...options))
    }
    ;[beforeLast, last] = [last, row]
  }
  return last[to.length] ?? 0
}
