import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { readIdempotencyKey } from '../../src/http/idempotency-key.ts'

type Node = { readonly [key: string]: unknown }

const document: Node = JSON.parse(readFileSync(join(import.meta.dirname, '../../docs/openapi.json'), 'utf8'))

/** Yields every object of the document with its path. Examples are data, not schemas. */
function* objects(node: unknown, path = ''): Generator<[path: string, object: Node]> {
  if (typeof node !== 'object' || node === null) return
  if (!Array.isArray(node)) yield [path, node as Node]
  for (const [key, child] of Object.entries(node))
    if (!['example', 'examples'].includes(key)) yield* objects(child, `${path}/${key}`)
}

const all = [...objects(document)]
const patterns = all.flatMap(([path, { pattern, patternProperties }]) =>
  [...(typeof pattern === 'string' ? [pattern] : []), ...Object.keys(patternProperties ?? {})].map(
    (source) => ({ path, source }),
  ),
)

/**
 * The part of regular expressions that means the same in Python, Go (RE2), Java, Rust and ECMAScript: printable ASCII, plain
 * groups, classes and quantifiers. No `\p`, `\u`, `\d` (Unicode in Python), look-around, back reference or named group.
 */
const ESCAPE = String.raw`\\(?:x[0-9a-f]{2}|[\^$.*+?()\[\]{}|\\/-])`
const IN_CLASS = String.raw`(?:[^\]\[\\\p{Cc}\P{ASCII}]|${ESCAPE})`
const PORTABLE = new RegExp(
  String.raw`^(?:[^\\\[\](){}*+?\p{Cc}\P{ASCII}]|${ESCAPE}|\[\^?${IN_CLASS}+\]|\((?:\?:)?(?![?*+])|\)|[*+?](?![*+?])|\{\d{1,3}(?:,\d{0,3})?\}(?![*+?]))*$`,
  'u',
)

test('every pattern of the document is one that Python, Go, Java, Rust and JavaScript share', () => {
  assert.ok(patterns.length > 0)
  for (const { path, source } of patterns) {
    assert.match(source, PORTABLE, path)
    assert.doesNotThrow(() => [new RegExp(source), new RegExp(source, 'u'), new RegExp(source, 'v')], path)
  }
})

test('the check of patterns refuses what one of them lacks', () => {
  const lacking = [
    ...['\\p{L}', '[\\p{L}]', '\\P{Lu}', '(?=a)', '(?!a)', '(?<=a)', '(?<!a)', '(?<n>a)', '(?P<n>a)'],
    ...['(a)\\1', '\\k<n>', '\\u00e9', '\\u{e9}', '\\x{e9}', '\\d', '\\w', '\\s', '\\b', '\\Z', 'a*+'],
    ...[
      'a++',
      '(?i)a',
      '(?>a)',
      'a{1001}',
      '[[:alpha:]]',
      'é',
      '[é]',
      '\\cA',
      '\\Qa\\E',
      'a{1}+',
      '[a&&[b]]',
    ],
  ]
  for (const source of lacking) assert.doesNotMatch(source, PORTABLE)
  for (const source of ['^a$', '^(a|b)?$', '^(?:[!-~]{1,20})*$', '\\x22', '[^a-z\\]]', '\\(', 'a{2}'])
    assert.match(source, PORTABLE)
})

test('a value with a format has no pattern, which generated code cannot apply to a date', () => {
  for (const [path, { format, pattern }] of all) assert.ok(!format || pattern === undefined, path)
})

const isNull = (schema: unknown) => (schema as Node | null)?.['type'] === 'null'

test('null is in responses alone, beside exactly one other type', () => {
  let nullable = 0
  for (const [path, { type, anyOf, oneOf, nullable: old }] of all) {
    assert.equal(old, undefined, `${path}: nullable is of OpenAPI 3.0`)
    assert.ok(type !== 'null' || /\/anyOf\/1$/.test(path), path)
    const variants = [anyOf, oneOf, type].find(Array.isArray) ?? []
    if (!variants.some((variant) => variant === 'null' || isNull(variant))) continue
    nullable++
    assert.equal(variants.length, 2, path)
    assert.match(path, /^\/components\/schemas\/|\/responses\//)
  }
  assert.ok(nullable > 5)
})

test('a body that may be left out is described without null', () => {
  const optional = all.filter(([path, { required }]) => path.endsWith('/requestBody') && required === false)
  assert.deepEqual(
    optional.map(([path]) => path),
    ['/paths//register/{id}/rotate/post/requestBody'],
  )
})

test('Idempotency-Key has its length and pattern, and each value that they allow is accepted', () => {
  const keys = all.filter(([, { in: place, name }]) => place === 'header' && name === 'idempotency-key')
  assert.equal(keys.length, 3)
  for (const [, { schema }] of keys) {
    const { minLength, maxLength, pattern } = schema as Node
    assert.deepEqual([minLength, maxLength], [16, 255])
    const regex = new RegExp(String(pattern))
    const allows = (key: string) => key.length >= 16 && key.length <= 255 && regex.test(key)
    for (const key of ['9c5b94b1-35ad-49bb-b118-8e8fc24abf80', '"9c5b94b1-35ad-49bb-b118-8e8fc24abf80"'])
      assert.ok(allows(key), key)
    for (const key of [
      'a'.repeat(15),
      `"${'a'.repeat(15)}"`,
      'a'.repeat(256),
      `${'a'.repeat(16)}"`,
      ' '.repeat(16),
    ])
      assert.ok(!allows(key), key)
    fc.assert(
      fc.property(fc.stringMatching(regex), (key) => !allows(key) || readIdempotencyKey(key) !== undefined),
    )
  }
})
