import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSecret, hasJwtForm, inspectSecret } from '../../src/auth/token-format.ts'

test('a secret consists of its prefix, 32 random characters and a checksum of 6 characters', () => {
  const secret = createSecret('fkb_')
  assert.match(secret, /^fkb_[0-9A-Za-z]{38}$/)
  assert.equal(inspectSecret('fkb_', secret), 'ok')
  assert.notEqual(createSecret('fkb_'), secret)
})

test('the checksum is the CRC-32 of the random part in base62, so that scanners can compute it', () => {
  const zeros = '0'.repeat(32)
  // Computed with another implementation: the CRC-32 is 0xA0F292D0.
  assert.equal(inspectSecret('fkb_', `fkb_${zeros}2wjyrI`), 'ok')
  assert.equal(inspectSecret('fkb_', `fkb_${zeros}000000`), 'mistyped')
})

test('the checksum detects every single wrong character', () => {
  const secret = createSecret('fkm_')
  for (let i = 4; i < secret.length; i++) {
    const wrong = secret[i] === 'a' ? 'b' : 'a'
    assert.equal(inspectSecret('fkm_', secret.slice(0, i) + wrong + secret.slice(i + 1)), 'mistyped')
  }
})

test('another prefix, length or alphabet is malformed, not mistyped', () => {
  const secret = createSecret('fkb_')
  for (const text of [
    '',
    'fkb_',
    secret.slice(1),
    `${secret}0`,
    secret.slice(0, -1),
    `fkm_${secret.slice(4)}`,
  ]) {
    assert.equal(inspectSecret('fkb_', text), 'malformed', text)
  }
  assert.equal(inspectSecret('fkb_', `fkb_${'é'.repeat(38)}`), 'malformed')
})

test('a credential with dots is meant as a JWT, however broken it is', () => {
  for (const text of [
    'eyJhbGciOiJub25lIn0.e30.',
    'a.b.c',
    'a.b',
    'a.b.c.d.e',
    '.b.c',
    'a..c',
    'a.b.c=',
    'a.b+/.c',
  ])
    assert.ok(hasJwtForm(text), text)
  for (const text of [createSecret('fkb_'), 'nonsense', '']) assert.ok(!hasJwtForm(text), text)
})
