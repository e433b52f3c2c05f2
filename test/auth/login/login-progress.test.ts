import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLoginCode, readLoginCode } from '../../../src/auth/login/login-code.ts'
import {
  askForConfirmation,
  beginLogin,
  LOGIN_TTL_MS,
  readConfirmation,
  readProgress,
} from '../../../src/auth/login/login-progress.ts'

const publicUrl = 'https://keys.example.com'
const issuer = { name: 'staff', url: 'https://login.example.com', login: { clientSecret: 'secret' } }
const find = (name: string) => (name === issuer.name ? issuer : undefined)
const request = { redirectUri: 'http://127.0.0.1:1/', state: undefined, codeChallenge: 'c'.repeat(43) }
const NOW = 1_800_000_000_000

test('the cookie of a login holds its progress for ten minutes, for its own state', () => {
  const { progress, cookie } = beginLogin(issuer, publicUrl, request, NOW)
  const read = (id = progress.id, at = NOW, text = cookie) => readProgress(text, id, publicUrl, find, at)
  assert.deepEqual(read(), { issuer, progress })
  assert.deepEqual(read(progress.id, NOW + LOGIN_TTL_MS - 1), { issuer, progress })
  assert.equal(read(progress.id, NOW + LOGIN_TTL_MS), undefined)
  const other = beginLogin(issuer, publicUrl, request, NOW)
  assert.equal(read(other.progress.id), undefined)
  assert.equal(read(progress.id, NOW, ''), undefined)
  assert.equal(read(progress.id, NOW, `${cookie.slice(0, -3)}AAA`), undefined)
  assert.equal(readProgress(cookie, progress.id, 'https://other.example.com', find, NOW), undefined)
  const values = [progress, other.progress].flatMap(({ id, nonce, codeVerifier }) => [
    id,
    nonce,
    codeVerifier,
  ])
  assert.equal(new Set(values).size, 6)
  assert.ok(!cookie.includes(progress.codeVerifier))
})

test('a confirmation is valid with the cookie that was set for it, and for nothing else', () => {
  const confirmation = { id: 'i'.repeat(22), claims: { sub: 'alice' }, request }
  const { field, cookie } = askForConfirmation(issuer, publicUrl, confirmation, NOW)
  const found = readConfirmation(field, publicUrl, find, NOW)
  assert.deepEqual(found?.confirmation, confirmation)
  assert.ok(found?.isFrom(cookie))
  const other = askForConfirmation(issuer, publicUrl, confirmation, NOW)
  for (const wrong of [other.cookie, '', field]) assert.ok(!found?.isFrom(wrong))
  assert.equal(readConfirmation(field, publicUrl, find, NOW + LOGIN_TTL_MS), undefined)

  const began = beginLogin(issuer, publicUrl, request, NOW)
  const code = createLoginCode(issuer, publicUrl, request, {}, NOW)
  for (const text of [began.cookie, code])
    assert.equal(readConfirmation(text, publicUrl, find, NOW), undefined)
  for (const text of [field, code])
    assert.equal(readProgress(text, confirmation.id, publicUrl, find, NOW), undefined)
  const sent = { code: field, redirectUri: request.redirectUri, verifier: 'v'.repeat(43) }
  assert.throws(() => readLoginCode(sent, publicUrl, find, NOW), /not one of this service/)
})
