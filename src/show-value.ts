import { redact } from './log.ts'

/** The most characters of a value that are shown. */
const LONGEST = 100
/** Matches names of variables whose value is a secret. */
const SECRET_NAME = /(?:SECRET|TOKEN|PASSWORD|ACCESS_KEY|AUTHORIZATION)(?!.*_(?:FILE|URI)$)/i
/** Matches what cannot be seen, or changes the order of what is seen: controls, formats, and spaces other than ' '. */
const INVISIBLE = /(?! )[\p{C}\p{Z}]/gu

/** Returns the value of a variable in quotes, with escapes, and with `***` in place of a secret. */
export function showValue(name: string, value: string): string {
  const masked = SECRET_NAME.test(name)
    ? value.replaceAll(/[!-~]+/g, '***')
    : redact(value).replaceAll(/\/\/[^/@\s]*@/g, '//***@')
  const shown = escapeInvisible(JSON.stringify(masked.slice(0, LONGEST)))
  return masked.length > LONGEST ? `${shown} and ${masked.length - LONGEST} more characters` : shown
}

/** Escapes what cannot be seen in a text for a terminal. */
export function escapeInvisible(text: string): string {
  return text.replaceAll(INVISIBLE, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`)
}
