/** One visible character: what is blank or joins others into an emoji does not count. */
const CHARACTER = '(?![\\p{Default_Ignorable_Code_Point}\\u20E3])[\\p{L}\\p{M}\\p{N}\\p{P}$+<=>^`|~]'

/** Letters, marks, digits and punctuation of any script, with single spaces between. */
export const NAME = new RegExp(`^(?:${CHARACTER})+(?: (?:${CHARACTER})+)*$`, 'u')

/** As {@link NAME}, or empty. */
export const NAME_OR_EMPTY = new RegExp(`^$|${NAME.source}`, 'u')

/** The rule in words, after the name of a field. */
export const NAME_RULE =
  'must be letters, digits and punctuation with single spaces between: ' +
  'no control, bidirectional or invisible characters, no emoji'
