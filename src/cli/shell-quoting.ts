import { shellQuote } from '../shell-quoting.ts'
import { printable } from './format.ts'

/** Formats words as a command line for a POSIX shell or, where a word needs an escape, for bash. One line in any case. */
export function commandLine(words: readonly string[]): string {
  return words.map(quote).join(' ')
}

function quote(word: string): string {
  if (printable(word) === word) return shellQuote(word)
  return `$'${printable(word.replace(/[\\']/g, '\\$&')).replace(/\\u\{([0-9a-f]+)\}/g, (_, hex) => `\\U${hex.padStart(8, '0')}`)}'`
}
