import { codePoint } from '../show-value.ts'
import { containsToken } from './token-format.ts'

/** The characters of names, descriptions and labels in words, to follow the name of a field. */
export const TEXT_RULE =
  'must consist of letters, digits, punctuation, symbols and emoji of any script, with single spaces between them'

/** The rule for every text that is stored as it is. */
export const TOKEN_RULE = 'must not contain a token, because it is stored in plain text'

/** The most combining marks in a row (UTS #39, section 5.4). */
const LONGEST_MARKS = 4

/** The most UTF-16 code units that NFC composes into one character (UAX #15, maximum expansion factors). */
const LONGEST_COMPOSITION = 4

/** The spaces that keyboards have: besides the usual one the no-break spaces and the ideographic one. */
const SPACE = /^[ \u00A0\u202F\u3000]$/
/** Of the symbols, some are blank (U+2800, U+FFFC, U+1D159), and one stands for bytes that were lost (U+FFFD). */
const VISIBLE = /^[[\p{L}\p{M}\p{N}\p{P}\p{S}]--[\u2800\uFFFC\uFFFD\u{1D159}]]$/v
const INVISIBLE = /^\p{Default_Ignorable_Code_Point}$/u
const MARK = /^\p{M}$/u
const NONSPACING = /^[\p{Mn}\p{Me}]$/u

/** The scripts whose letters join (UAX #31, section 2.3.1, context A1), with the marks that letters of Arabic have. */
const CURSIVE =
  '[[\\p{L}\\p{M}]&&[\\p{scx=Adlm}\\p{scx=Arab}\\p{scx=Mand}\\p{scx=Mani}\\p{scx=Mong}\\p{scx=Nkoo}\\p{scx=Ougr}' +
  '\\p{scx=Phag}\\p{scx=Phlp}\\p{scx=Rohg}\\p{scx=Sogd}\\p{scx=Syrc}]]'
/** The characters of Canonical_Combining_Class=Virama: they join consonants in the scripts of South and Southeast Asia. */
const VIRAMA =
  '[\\u094D\\u09CD\\u0A4D\\u0ACD\\u0B4D\\u0BCD\\u0C4D\\u0CCD\\u0D3B\\u0D3C\\u0D4D\\u0DCA\\u0E3A\\u0EBA\\u0F84\\u1039' +
  '\\u103A\\u1714\\u1715\\u1734\\u17D2\\u1A60\\u1B44\\u1BAA\\u1BAB\\u1BF2\\u1BF3\\u2D7F\\uA806\\uA82C\\uA8C4\\uA953' +
  '\\uA9C0\\uAAF6\\uABED\\u{10A3F}\\u{11046}\\u{11070}\\u{1107F}\\u{110B9}\\u{11133}\\u{11134}\\u{111C0}\\u{11235}' +
  '\\u{112EA}\\u{1134D}\\u{113CE}-\\u{113D0}\\u{11442}\\u{114C2}\\u{115BF}\\u{1163F}\\u{116B6}\\u{1172B}\\u{11839}' +
  '\\u{1193D}\\u{1193E}\\u{119E0}\\u{11A34}\\u{11A47}\\u{11A99}\\u{11C3F}\\u{11D44}\\u{11D45}\\u{11D97}\\u{11F41}' +
  '\\u{11F42}]'
const MONGOLIAN = '[\\p{L}&&\\p{scx=Mong}]'
/** The digit, the operators and the punctuation marks with a variation that is standardized (StandardizedVariants.txt). */
const VARIANT =
  '[0\\u2205\\u2229\\u222A\\u2268\\u2269\\u2272\\u2273\\u228A\\u228B\\u2293-\\u2295\\u2297\\u229C\\u22DA\\u22DB' +
  '\\u2A3C\\u2A3D\\u2A9D\\u2A9E\\u2AAC\\u2AAD\\u2ACB\\u2ACC\\u3001\\u3002\\uFF01\\uFF0C\\uFF0E\\uFF1A\\uFF1B\\uFF1F]'
/** The flags of England, Scotland and Wales: a black flag with characters that are invisible elsewhere (UTS #51, annex C). */
const TAGGED_FLAG = /\p{RGI_Emoji_Tag_Sequence}/gv

/**
 * An invisible character where Unicode says that it belongs, with the character before and the one after. Elsewhere it would
 * make two names that look alike.
 */
const IN_PLACE = new RegExp(
  `^(?:${[
    // Zero width (non-)joiners: between letters that join; after a virama (UAX #31, contexts A2 and B); and where consonants
    // take a form of their own, before it (The Unicode Standard, chapters 12 and 13). Persian also joins its endings to numbers
    // and to Latin words with a non-joiner; abbreviations end in a joiner (section 9.2).
    `${CURSIVE}[\\u200C\\u200D][${CURSIVE}&&\\p{L}]`,
    `[\\p{L}\\p{Nd}]\\u200C[${CURSIVE}&&\\p{L}]`,
    '[\\p{L}&&\\p{scx=Arab}]\\u200D[\\p{Z}\\p{P}\\p{S}\\p{N}]',
    `${VIRAMA}(?:\\u200C\\p{L}|\\u200D\\P{M})`,
    `[\\p{L}&&[\\p{sc=Beng}\\p{sc=Knda}\\p{sc=Sinh}\\p{sc=Telu}]]\\u200D${VIRAMA}`,
    // Khmer: between a shifter of the register and a vowel.
    '[\\u17C9\\u17CA]\\u200C[\\p{M}&&\\p{sc=Khmr}]',
    // Variations of ideographs, of letters in Myanmar and Phags-pa, and of Mongolian letters; and Mongolian's vowel separator.
    '[\\p{Ideographic}&&\\p{sc=Han}][\\uFE00-\\uFE02\\u{E0100}-\\u{E01EF}][^]',
    '[\\p{L}&&[\\p{sc=Mymr}\\p{sc=Phag}]]\\uFE00[^]',
    `${VARIANT}\\uFE00[^]`,
    `${MONGOLIAN}[\\u180B-\\u180D\\u180F][^]`,
    `[${MONGOLIAN}\\u180B-\\u180D\\u180F]\\u180E${MONGOLIAN}`,
    // Emoji: as a text or as a picture, keycaps, and sequences (UTS #51).
    '[\\p{Extended_Pictographic}&&\\p{Emoji}][\\uFE0E\\uFE0F][^]',
    '[0-9#*]\\uFE0F\\u20E3',
    '[\\p{Extended_Pictographic}\\p{Emoji_Modifier}\\uFE0F]\\u200D\\p{Extended_Pictographic}',
  ].join('|')})$`,
  'v',
)

/**
 * Reads a text for people: a name, a description or a label. Returns it in Unicode's normalization form NFC, or the rule that
 * it breaks, in words that follow the name of a field. An empty text is in order.
 * @param longest the most characters (code points) of the normalized text
 */
export function readVisibleText(
  sent: string,
  longest: number,
): { readonly text: string } | { readonly fault: string } {
  const tooLong = { fault: `must have at most ${longest} characters` }
  // The time to normalize grows with the square of the combining marks in a row.
  if (sent.length > longest * LONGEST_COMPOSITION) return tooLong
  const text = sent.normalize('NFC')
  const characters = [...text]
  if (characters.length > longest) return tooLong
  const fault = faultOf(
    // As many characters, so that the positions stay.
    [...text.replaceAll(TAGGED_FLAG, (flag) => '🏴'.repeat([...flag].length))],
  )
  if (fault !== undefined) return { fault }
  if (containsToken(text)) return { fault: TOKEN_RULE }
  return { text }
}

function faultOf(characters: readonly string[]): string | undefined {
  let marks = 0
  for (const [i, character] of characters.entries()) {
    const before = characters[i - 1] ?? ' '
    const after = characters[i + 1] ?? ' '
    const at = `character ${i + 1} is ${codePoint(character)}`
    if (SPACE.test(character)) {
      if (SPACE.test(before) || SPACE.test(after)) return `${TEXT_RULE}; ${at}`
    } else if (INVISIBLE.test(character)) {
      if (!IN_PLACE.test(before + character + after))
        return `must have invisible characters only where a script or an emoji needs them; ${at}`
    } else if (!VISIBLE.test(character)) {
      return `${TEXT_RULE}; ${at}`
    } else if (MARK.test(character) && SPACE.test(before)) {
      return `must have a letter before every combining mark; ${at}`
    }
    marks = NONSPACING.test(character) ? marks + 1 : 0
    if (marks > LONGEST_MARKS) return `must have at most ${LONGEST_MARKS} combining marks in a row; ${at}`
  }
  return undefined
}
