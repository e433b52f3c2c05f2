/** One visible character. Invisible characters, and those that combine others into an emoji, do not match. */
const CHARACTER = '(?![\\p{Default_Ignorable_Code_Point}\\u20E3])[\\p{L}\\p{M}\\p{N}\\p{P}$+<=>^`|~]'

/** Letters, marks, digits and punctuation of any script, with single spaces between them. */
export const NAME = new RegExp(`^(?:${CHARACTER})+(?: (?:${CHARACTER})+)*$`, 'u')

/** Like {@link NAME}, or empty. */
export const NAME_OR_EMPTY = new RegExp(`^$|${NAME.source}`, 'u')

/** The rule of {@link NAME} in words, to follow the name of a field. */
export const NAME_RULE =
  'must consist of letters, digits and punctuation with single spaces between them: ' +
  'no control, bidirectional or invisible characters, no emoji, ' +
  'no currency or other symbols except $ + < = > ^ ` | ~'
