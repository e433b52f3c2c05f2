import { escapeInvisible } from '../../show-value.ts'

/** The most characters of a registration's name. */
const LONGEST = 128

/** The names that a grant allows, from its template: claims in braces, and a final `*` if they only begin like that. */
export interface NameTemplate {
  readonly claims: readonly string[]
  readonly isPrefix: boolean
  /** Returns the text with the claims filled in; `undefined`: that is no name. */
  fill(read: (claim: string) => string): string | undefined
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
  if (!isName(literals)) return `must have at most ${LONGEST} visible characters`
  return {
    claims,
    isPrefix,
    fill(read) {
      const filled = parts.map((part, i) => (i % 2 === 0 ? part : read(part))).join('')
      const name = filled.normalize('NFC')
      return isName(name) ? name : undefined
    },
  }
}

function isName(text: string): boolean {
  return text.length <= 4 * LONGEST && [...text].length <= LONGEST && escapeInvisible(text) === text
}
