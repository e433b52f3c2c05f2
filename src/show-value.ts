import { redact } from './log.ts'

/** The most characters of a value that are shown. */
const LONGEST = 100
/** Matches names of variables whose value is a secret. */
const SECRET_NAME = /(?:SECRET|TOKEN|PASSWORD|ACCESS_KEY|AUTHORIZATION)(?!.*_(?:FILE|URI)$)/i
/** Matches the credentials in a URL, and in that of a proxy, which may lack the scheme and have a password that is not encoded. */
const URL_USER = /(\/\/)[^/@\s]*@/g
const PROXY_USER = /^(\w*:\/\/)?.*@/gs
/** Matches what cannot be seen, or changes the order of what is seen: controls, formats, and spaces other than ' '. */
const INVISIBLE = /(?! )[\p{C}\p{Z}]/gu

/** Returns the value of a variable in quotes, with escapes, and with `***` in place of a secret. */
export function showValue(name: string, value: string): string {
  const masked = SECRET_NAME.test(name)
    ? value.replaceAll(/[!-~]+/g, '***')
    : redact(value).replaceAll(/PROXY$/i.test(name) ? PROXY_USER : URL_USER, '$1***@')
  const shown = escapeInvisible(JSON.stringify(masked.slice(0, LONGEST)))
  return masked.length > LONGEST ? `${shown} and ${masked.length - LONGEST} more characters` : shown
}

/** Escapes what cannot be seen in a text for a terminal. */
export function escapeInvisible(text: string): string {
  return text.replaceAll(INVISIBLE, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`)
}

/** Formats a character as in U+202E. */
export function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
}
