import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createSecret } from '../../src/auth/token-format.ts'
import { readVisibleText } from '../../src/auth/visible-text.ts'

const LONGEST = 128
const read = (text: string) => readVisibleText(text, LONGEST)

/** The emoji tag sequence of a region. */
const flag = (region: string) =>
  `🏴${[...region].map((letter) => String.fromCodePoint(0xe0000 + letter.charCodeAt(0))).join('')}\u{e007f}`

/** Texts that are accepted as they are, by what is in them. */
const accepted: Record<string, string[]> = {
  scripts: ['Zoë', '東京エージェント', 'агент 1', 'وكيل', "O'Neil & Sons (prod)", 'เชียงใหม่', '𞤀𞤣𞤤𞤢𞤥'],
  currencies: ['€ £ ¥ ₹ ₿ ₴ ¢'],
  symbols: ['° ™ © ® № × ÷ ± → ∞ ≤ ♥ ☎ ¨ ` ^ 𝄞 ⣿ ￥'],
  spaces: ['Acme\u00a0SA', 'prix\u202f!', '山田\u3000太郎'],
  'ZWNJ between joining letters': [
    'نرم\u200cافزار',
    'نَرم\u200cافزار',
    'می\u200cخواهم',
    'ܐܒ\u200cܓ',
    'ߒߞ\u200cߏ',
  ],
  'ZWNJ between a number or a letter that does not join and one that does': [
    ...['سرویس ۲۴\u200cساعته', 'نسخه 2\u200cساله', '٣\u200cماهه', 'PDF\u200cها', 'é\u200cها'],
  ],
  'ZWJ between joining letters': ['ه\u200dه', 'ᠠ\u200dᠠ'],
  'ZWJ at the end of an Abjad word': [
    '۱۴۰۴ ه\u200d',
    'ه\u200d.ق',
    'سال ه\u200d ق',
    '(ه\u200d)',
    '1404ه\u200d',
  ],
  'standardized variants': [
    '0\ufe00',
    '10\ufe00',
    '∩\ufe00 ∪\ufe00',
    '≨\ufe00',
    '⪝\ufe00',
    '∅\ufe00',
    '。\ufe00',
    '！\ufe00',
  ],
  'joiners after a virama': [
    ...['क्\u200dष', 'क्\u200cष', 'र्\u200dय', 'क्\u200d', 'ශ්\u200dරී ලංකා', 'அக்\u200cஷய'],
    ...['അവന്\u200d', 'ಅರ್\u200dಕ', 'ক্\u200dষ'],
  ],
  'a joiner before a virama': ['র\u200d্যাব', 'ರ\u200d್ಕ', 'ක\u200d්ක'],
  'a joiner after a register shifter': ['ស៊\u200cី'],
  'ideographic variation sequences': ['葛\u{e0100}飾', '辻\ufe00', '〇\u{e0101}', '邊\u{e0112}\u3000太郎'],
  'Mongolian selectors and separators': [
    'ᠠ\u180bᠨ',
    'ᠨ\u180c',
    'ᠭ\u180d',
    'ᠢ\u180f',
    'ᠪᠠᠷᠠ\u180eᠠ',
    'ᠨ\u180b\u180eᠠ',
    'ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ',
  ],
  'selectors in Myanmar and Phags-pa': ['က\ufe00', 'ꡂ\ufe00'],
  emoji: ['🤖', '☁\ufe0f', '☁\ufe0e', '1\ufe0f\u20e3', '#\ufe0f\u20e3', '🇺🇦', '👍🏽', '©\ufe0f'],
  'emoji sequences': [
    '👩\u200d🚀',
    '👨🏽\u200d💻',
    '❤\ufe0f\u200d🔥',
    '🏳\ufe0f\u200d🌈',
    '👨\u200d👩\u200d👧\u200d👦',
    '🐈\u200d⬛',
  ],
  'flags of England, Scotland and Wales': [
    ...['gbeng', 'gbsct', 'gbwls'].map(flag),
    `${flag('gbsct')}${flag('gbwls')} agent ${flag('gbeng')}!`,
  ],
  'combining marks': ['q\u0323\u0307x', 'א\u05bc\u05b7', 'ཧཱུྃ', 'မြွှေ', 'x\u0301\u0302\u0303\u0304'],
  nothing: [''],
}

for (const [title, texts] of Object.entries(accepted)) {
  test(`accepted: ${title}`, () => {
    for (const text of texts) assert.deepEqual(read(text.normalize('NFC')), { text: text.normalize('NFC') })
  })
}

/** Texts with the position and the code point that the message has to name. */
const refused: Record<string, [text: string, position: number, codePoint: string][]> = {
  'control characters': [
    ['a\u0000b', 2, 'U+0000'],
    ['a\nb', 2, 'U+000A'],
    ['a\u007fb', 2, 'U+007F'],
    ['a\u009bb', 2, 'U+009B'],
    ['a\u2028b', 2, 'U+2028'],
  ],
  'bidirectional characters': [
    '\u061c',
    '\u200e',
    '\u200f',
    '\u202a',
    '\u202b',
    '\u202c',
    '\u202d',
    '\u202e',
    '\u2066',
    '\u2067',
    '\u2068',
    '\u2069',
  ].map((character) => [
    `agent${character}x`,
    6,
    `U+${character.charCodeAt(0).toString(16).padStart(4, '0').toUpperCase()}`,
  ]),
  'invisible characters': [
    ['a\u200bb', 2, 'U+200B'],
    ['a\u2060b', 2, 'U+2060'],
    ['\ufeffa', 1, 'U+FEFF'],
    ['so\u00adft', 3, 'U+00AD'],
    ['a\u034fb', 2, 'U+034F'],
    ['\u3164', 1, 'U+3164'],
    ['\u115f', 1, 'U+115F'],
    ['\uffa0', 1, 'U+FFA0'],
    ['a\u2800b', 2, 'U+2800'],
    ['a\u{e0041}', 2, 'U+E0041'],
    ['🏴\u{e0067}\u{e007f}', 2, 'U+E0067'],
    [flag('ustx'), 2, 'U+E0075'],
    [flag('gbengx'), 2, 'U+E0067'],
    [flag('gbeng').slice(0, -2), 2, 'U+E0067'],
    [`${flag('gbeng')}\u{e007f}`, 8, 'U+E007F'],
    [flag('gbeng').replace('🏴', '🏳'), 2, 'U+E0067'],
    [`${flag('gbwls')}a\u200b`, 9, 'U+200B'],
    ['a\ufffc', 2, 'U+FFFC'],
  ],
  'joiners elsewhere': [
    ['a\u200cb', 2, 'U+200C'],
    ['a\u200db', 2, 'U+200D'],
    ['\u200cم', 1, 'U+200C'],
    ['نرم\u200c', 4, 'U+200C'],
    ['نرم\u200c\u200cافزار', 4, 'U+200C'],
    ['م\u200ca', 2, 'U+200C'],
    ['क\u200dष', 2, 'U+200D'],
    ['क्\u200dि', 3, 'U+200D'],
    ['क्\u200c', 3, 'U+200C'],
    ['東\u200d京', 2, 'U+200D'],
    ['🤖\u200d', 2, 'U+200D'],
    ['🤖\u200da', 2, 'U+200D'],
    ['1\u200d2', 2, 'U+200D'],
    ['1\u200c2', 2, 'U+200C'],
    ['1\u200cb', 2, 'U+200C'],
    ['.\u200cها', 2, 'U+200C'],
    ['PDF \u200cها', 5, 'U+200C'],
    ['PDF\u200c\u200cها', 4, 'U+200C'],
    ['PDF\u200dها', 4, 'U+200D'],
    ['ه\u200d\u200d', 2, 'U+200D'],
    ['ه\u200da', 2, 'U+200D'],
    ['ᠠ\u200d', 2, 'U+200D'],
  ],
  'variation selectors elsewhere': [
    ['a\ufe0f', 2, 'U+FE0F'],
    ['a\ufe00', 2, 'U+FE00'],
    ['1\ufe00', 2, 'U+FE00'],
    ['0\ufe01', 2, 'U+FE01'],
    ['0\ufe00\ufe00', 3, 'U+FE00'],
    ['+\ufe00', 2, 'U+FE00'],
    ['1\ufe0f', 2, 'U+FE0F'],
    ['1\ufe0f2', 2, 'U+FE0F'],
    ['\ufe0fa', 1, 'U+FE0F'],
    ['☁\ufe0f\ufe0f', 3, 'U+FE0F'],
    ['a\u{e0100}', 2, 'U+E0100'],
    ['東\u{e0100}\u{e0100}', 3, 'U+E0100'],
    ['a\u180b', 2, 'U+180B'],
    ['a\u180eb', 2, 'U+180E'],
    ['ᠠ\u180e', 2, 'U+180E'],
  ],
  spaces: [
    [' a', 1, 'U+0020'],
    ['a ', 2, 'U+0020'],
    ['a  b', 2, 'U+0020'],
    ['a \u00a0b', 2, 'U+0020'],
    ['\u00a0', 1, 'U+00A0'],
    ['a\u2003b', 2, 'U+2003'],
    ['a\tb', 2, 'U+0009'],
  ],
  'combining marks': [
    ['\u0301a', 1, 'U+0301'],
    ['a \u0301', 3, 'U+0301'],
    [`x${'\u0301'.repeat(5)}`, 6, 'U+0301'],
    [`Z${'\u0335\u0327\u0301'.repeat(20)}`, 6, 'U+0335'],
  ],
  'what is no character': [
    ['a\ud800', 2, 'U+D800'],
    ['\udfffa', 1, 'U+DFFF'],
    ['a\ue000', 2, 'U+E000'],
    ['a\ufdd0', 2, 'U+FDD0'],
    ['a\uffff', 2, 'U+FFFF'],
    ['a\u0378', 2, 'U+0378'],
    ['a\u{f0000}', 2, 'U+F0000'],
    ['a\ufffd', 2, 'U+FFFD'],
  ],
}

for (const [title, cases] of Object.entries(refused)) {
  test(`refused, with the position and the code point: ${title}`, () => {
    for (const [text, position, codePoint] of cases) {
      const result = read(text)
      assert.ok('fault' in result, JSON.stringify(text))
      assert.match(
        result.fault,
        new RegExp(`^must .*; character ${position} is ${codePoint.replace('+', '\\+')}$`),
      )
    }
  })
}

test('a text is returned in NFC, and its characters are counted in NFC', () => {
  const composed = 'é'.repeat(LONGEST)
  for (const text of ['Tiếng Việt', '한국어', 'ἄνθρωπος', '\u212b', composed])
    for (const form of ['NFC', 'NFD'] as const)
      assert.deepEqual(read(text.normalize(form)), { text: text.normalize('NFC') })
  for (const text of ['x'.repeat(LONGEST), '🤖'.repeat(LONGEST), 'ᾂ'.repeat(LONGEST).normalize('NFD')])
    assert.ok('text' in read(text))
  for (const text of ['x'.repeat(LONGEST + 1), '🤖'.repeat(LONGEST + 1), `${composed}e`])
    assert.deepEqual(read(text), { fault: 'must have at most 128 characters' })
})

test('a token is refused wherever it stands, also a mistyped one, and the message does not repeat it', () => {
  for (const prefix of ['fkb_', 'fkm_'] as const) {
    const secret = createSecret(prefix)
    const texts = [
      secret,
      `my token ${secret}`,
      `agent-${secret}-x`,
      `${secret.slice(0, -1)}A`,
      secret.slice(0, -6),
    ]
    for (const text of texts) {
      const result = read(text)
      assert.ok('fault' in result && !result.fault.includes(secret.slice(4, 12)), text)
    }
  }
  // A name is too short for a whole JWT.
  const jwt = `${Buffer.from('{"alg":"RS256"}').toString('base64url')}.${Buffer.from('{"iss":"x"}').toString('base64url')}`
  for (const text of [jwt, `agent ${jwt}`, `x-${jwt}.AAAA`, jwt.slice(0, 30)]) {
    const result = read(text)
    assert.ok('fault' in result && !result.fault.includes(text), text)
  }
  for (const text of [
    'keyJson',
    'fkb_',
    'fkm_ tokens',
    'a fkb_ token',
    'da39a3ee5e6b4b0d3255bfef95601890afd80709',
  ])
    assert.deepEqual(read(text), { text })
})

/** All that could hide in a name, and what these characters combine with. */
const pieces = fc.constantFrom(
  ...[
    'a',
    'é',
    'e\u0301',
    ' ',
    '\u00a0',
    '\u0301',
    '\u0345',
    '\u0334',
    'م',
    'क',
    '्',
    'ি',
    '東',
    'ᠠ',
    '🤖',
    '☁',
    '1',
    '👍',
  ],
  ...[
    '\u200c',
    '\u200d',
    '\ufe0f',
    '\ufe0e',
    '\ufe00',
    '\u{e0100}',
    '\u180b',
    '\u180e',
    '\u20e3',
    '\u202e',
    '\u200b',
    '\ud800',
  ],
  ...[
    '\u0000',
    '\n',
    '\u3164',
    '\u2800',
    '\ue000',
    '\u{e0041}',
    '🏽',
    '€',
    'fkb_',
    '🏴',
    flag('gbeng'),
    '\u{e007f}',
  ],
)
const anyText = fc.oneof(
  fc.array(pieces, { maxLength: 40 }).map((parts) => parts.join('')),
  fc.string({ unit: 'binary', maxLength: 40 }),
)

test('an accepted text is in NFC, is accepted again, and hides nothing', () => {
  const hidden =
    /[\p{Cc}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Bidi_Control}\u200b\u2060\ufeff\u00ad\u{e0000}-\u{e007f}]/v
  fc.assert(
    fc.property(anyText, (sent) => {
      const result = read(sent)
      if ('fault' in result) return
      assert.equal(result.text, sent.normalize('NFC'))
      assert.deepEqual(read(result.text), result)
      assert.doesNotMatch(result.text.replaceAll(flag('gbeng'), ''), hidden)
      assert.equal(result.text, result.text.trim())
      assert.ok(result.text.isWellFormed())
      // Without its invisible characters the text is still there.
      const visible = result.text.replaceAll(/\p{Default_Ignorable_Code_Point}/gu, '')
      assert.ok(sent === '' || visible.trim() !== '')
    }),
    { numRuns: 3_000 },
  )
})

test('a hostile text of 64 KB costs little, and no more than in proportion to its length', () => {
  const time = (text: string, longest: number) => {
    let least = Number.POSITIVE_INFINITY
    for (let run = 0; run < 3; run++) {
      const before = process.cpuUsage()
      readVisibleText(text, longest)
      const { user, system } = process.cpuUsage(before)
      least = Math.min(least, (user + system) / 1_000)
    }
    return least
  }
  const repeated = (piece: string, size: number) =>
    piece.repeat(Math.ceil(size / piece.length)).slice(0, size)
  // Marks in descending order of their combining classes: Unicode's normalization sorts them in quadratic time.
  const hostile = [
    '\u0345\u0334',
    '\u0345',
    'a\u200d',
    'م\u200c',
    '🤖\u200d',
    'क्\u200d',
    'a ',
    ' ',
    'fkb_',
    '\ud800',
    '\u0000',
  ]
  for (const piece of hostile) {
    const text = `a${repeated(piece, 65_535)}`
    assert.ok(time(text, LONGEST) < 20, JSON.stringify(piece))
    // As if such a length were allowed, for texts that do not normalize slowly.
    if (piece.startsWith('\u0345')) continue
    const [quarter, whole] = [time(text.slice(0, 16_384), 65_536), time(text, 65_536)]
    assert.ok(whole < 5 || whole < 10 * quarter, `${JSON.stringify(piece)}: ${quarter} ms, ${whole} ms`)
  }
})
