/** The longest wait, in seconds; a longer one is reduced to it. */
const LONGEST_S = 3_600

/** One preference with its value, if it has one (RFC 7240, section 2). It is read from the start of the text. */
const WAIT = /^wait[ \t]*=[ \t]*(?:"(\d+)"|(\d+))[ \t]*(?:;|$)/i

/**
 * Reads the seconds of `Prefer: wait=…` (RFC 7240, section 4.3). Of several valid ones the first counts (section 2).
 * Returns `undefined` if there is no valid one, or if it is 0: a preference is never an error. Linear in the length.
 */
export function readWait(header: string | string[] | undefined): number | undefined {
  for (const preference of listItems([header ?? []].flat().join(','))) {
    const [, quoted, bare] = preference.match(WAIT) ?? []
    const seconds = quoted ?? bare
    if (seconds !== undefined) return Number(seconds) === 0 ? undefined : Math.min(Number(seconds), LONGEST_S)
  }
  return undefined
}

/** Splits a list at the commas that are not in double quotes, in one pass (RFC 9110, sections 5.6.1 and 5.6.4). */
function* listItems(list: string): Generator<string> {
  let start = 0
  let isQuoted = false
  for (let at = 0; at < list.length; at++) {
    const character = list[at]
    if (character === '"') isQuoted = !isQuoted
    else if (character === '\\' && isQuoted) at += 1
    else if (character === ',' && !isQuoted) {
      yield list.slice(start, at).trim()
      start = at + 1
    }
  }
  yield list.slice(start).trim()
}
