/** Characters that end a line for some reader, are invisible, or change the order in which others are shown. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\ufffe\uffff]/gu

/** Returns a text as a string of YAML in double quotes, on one line. */
export function yamlString(text: string): string {
  return inQuotes(text, unicodeEscape)
}

/** Returns a text as a string of HCL, in which `${` and `%{` begin no template. */
export function hclString(text: string): string {
  // Terraform reads every doubled one as one, but other parsers look for the brace that closes it.
  return inQuotes(text, unicodeEscape).replaceAll(
    /([$%](?=\{[^{}]*\}))|[$%](?=\{)/g,
    (found, closed?: string) => (closed === undefined ? unicodeEscape(found.charCodeAt(0)) : found + found),
  )
}

/** Returns a text as a string of TypeScript in double quotes. */
export function typeScriptString(text: string): string {
  return inQuotes(text, (code) => `\\u{${code.toString(16)}}`)
}

/** Returns a text in quotes for a comment, which it cannot end. */
export const inComment = yamlString

/** Returns the lines of a comment, each after a mark. */
export function commentLines(mark: '#' | '//', lines: readonly string[]): string {
  return lines.map((line) => `${mark} ${line}\n`).join('')
}

/** Returns a number without an exponent, which readers of YAML 1.1 take for a text. */
export function decimal(value: number): string {
  return value.toLocaleString('en', { useGrouping: false, maximumFractionDigits: 20 })
}

function inQuotes(text: string, escapeOf: (code: number) => string): string {
  const escaped = text
    .toWellFormed()
    .replaceAll(/["\\]/g, '\\$&')
    .replaceAll(UNSAFE, (character) => escapeOf(character.codePointAt(0) ?? 0))
  return `"${escaped}"`
}

function unicodeEscape(code: number): string {
  const digits = code.toString(16)
  return code > 0xffff ? `\\U${digits.padStart(8, '0')}` : `\\u${digits.padStart(4, '0')}`
}
