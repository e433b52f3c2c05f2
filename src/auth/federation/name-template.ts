import { readVisibleText } from '../visible-text.ts'

/** The most characters of a registration's name. */
const LONGEST = 128

/** The names that a grant allows, from its template: claims in braces, and a final `*` if they only begin like that. */
export interface NameTemplate {
  readonly claims: readonly string[]
  readonly isPrefix: boolean
  /** Returns the text with the claims filled in, or the reason why no name is or begins like that, in words that follow "a name that". */
  fill(read: (claim: string) => string): { readonly text: string } | { readonly fault: string }
}

/** Parses a template. @returns its fault, in words that follow the name of the field */
export function parseNameTemplate(template: string): NameTemplate | string {
  const isPrefix = template.endsWith('*')
  const text = isPrefix ? template.slice(0, -1) : template
  // Literal text and claims take turns: '', claim, '', …
  const parts = text.split(/\{([^{}]*)\}/)
  const literals = parts.filter((_, i) => i % 2 === 0).join('')
  const claims = parts.filter((_, i) => i % 2 === 1)
  if (/[{}]/.test(literals)) return 'must have every { closed by a }, around the name of a claim'
  if (claims.includes('')) return 'must have the name of a claim in its braces'
  if (literals.includes('*')) return 'may have a * only at its end'
  if (text === '') return 'must have a text before the *'

  const fill = (read: (claim: string) => string) => {
    const filled = parts.map((part, i) => (i % 2 === 0 ? part : read(part))).join('')
    // A name goes on after a space at the end of its beginning.
    const space = isPrefix && /[^ ] $/.test(filled) ? ' ' : ''
    const result = readVisibleText(filled.slice(0, filled.length - space.length), LONGEST)
    return 'text' in result ? { text: result.text + space } : result
  }
  // A claim may be anything; as a letter it leaves the faults of the text around it.
  const sample = fill(() => 'x')
  return 'fault' in sample ? sample.fault : { claims, isPrefix, fill }
}
