import assert from 'node:assert/strict'
import { test } from 'node:test'
import { trustChanges } from '../../../src/auth/federation/trust-changes.ts'
import { parseTrust } from '../../../src/auth/federation/trust-file.ts'

const read = (text: string) =>
  parseTrust(text, {
    path: 'x',
    publicUrl: 'https://keys.example.com',
    plans: null,
    variable: () => undefined,
  })
const rule = (id: string, repository = '42') =>
  `  - { id: ${id}, issuer: github, match: { repository_id: "${repository}" }, grant: { key_ttl: 24h } }\n`
const issuers = 'issuers: { github: { kind: github }, gitlab: { kind: gitlab } }\n'
const before = read(`${issuers}rules:\n${rule('a')}${rule('b')}`)

test('the changes of a trust file are named by issuer, rule and audience', () => {
  const cases: [text: string, changes: object][] = [
    [`# the same\n${issuers}rules:\n${rule('a')}${rule('b')}`, {}],
    [`${issuers}rules:\n${rule('a')}${rule('c')}`, { rules_added: ['c'], rules_removed: ['b'] }],
    [`${issuers}rules:\n${rule('a', '43')}${rule('b')}`, { rules_changed: ['a'] }],
    [`${issuers}rules:\n${rule('b')}${rule('a')}`, { rules_order: ['b', 'a'] }],
    [`${issuers}rules:\n${rule('c')}${rule('a')}${rule('b')}`, { rules_added: ['c'] }],
    [`audience: x\n${issuers}rules:\n${rule('a')}${rule('b')}`, { audience: 'x' }],
    [
      `issuers: { github: { kind: github, single_use: false }, new: { kind: gcp } }\nrules:\n${rule('a')}${rule('b')}`,
      { issuers_added: ['new'], issuers_removed: ['gitlab'], issuers_changed: ['github'] },
    ],
  ]
  for (const [text, changes] of cases) assert.deepEqual(trustChanges(before, read(text)), changes, text)
})
