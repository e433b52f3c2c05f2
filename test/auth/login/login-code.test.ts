import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import { CODE_TTL_MS, createLoginCode, readLoginCode } from '../../../src/auth/login/login-code.ts'
import { ServiceError } from '../../../src/errors.ts'

const publicUrl = 'https://keys.example.com'
const issuer = { name: 'staff.1', url: 'https://login.example.com', login: { clientSecret: 'secret' } }
const find = (name: string) => (name === issuer.name ? issuer : undefined)
const verifier = 'v'.repeat(43)
const redirectUri = 'http://127.0.0.1:5123/'
const request = { redirectUri, state: 's', codeChallenge: hash('sha256', verifier, 'base64url') }
const claims = { sub: 'alice', email_verified: true }
const NOW = 1_800_000_000_000

const create = (at = NOW) => createLoginCode(issuer, publicUrl, request, claims, at)
const sent = (code: string, changes = {}) => ({ code, redirectUri, verifier, ...changes })

test('a code gives back the claims, and the same proof however often and in whatever form it is read', () => {
  const code = create()
  const first = readLoginCode(sent(code), publicUrl, find, NOW)
  assert.deepEqual(first.claims, claims)
  assert.equal(first.issuer, issuer)
  assert.deepEqual(readLoginCode(sent(code), publicUrl, find, NOW + CODE_TTL_MS - 1).proof, first.proof)
  // Base64url leaves bits of the last character unused: the other characters stand for the same bytes.
  const forms = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'].map(
    (last) => code.slice(0, -1) + last,
  )
  const accepted = [...forms, `${code}=`].flatMap((form) => {
    try {
      return [readLoginCode(sent(form), publicUrl, find, NOW).proof]
    } catch {
      return []
    }
  })
  for (const proof of accepted) assert.deepEqual(proof, first.proof)
  assert.notDeepEqual(readLoginCode(sent(create()), publicUrl, find, NOW).proof, first.proof)
})

test('a code is not valid late, changed, elsewhere, or with other parameters', () => {
  const code = create()
  const at = code.length - 10
  const cases: [what: string, read: () => unknown][] = [
    ['expired', () => readLoginCode(sent(code), publicUrl, find, NOW + CODE_TTL_MS)],
    ['empty', () => readLoginCode(sent(''), publicUrl, find, NOW)],
    ['cut', () => readLoginCode(sent(code.slice(0, -4)), publicUrl, find, NOW)],
    [
      'changed',
      () =>
        readLoginCode(
          sent(code.slice(0, at) + (code[at] === 'A' ? 'B' : 'A') + code.slice(at + 1)),
          ...([publicUrl, find, NOW] as const),
        ),
    ],
    ['of no issuer', () => readLoginCode(sent(code.replace('staff', 'other')), publicUrl, find, NOW)],
    ['of another service', () => readLoginCode(sent(code), 'https://other.example.com', find, NOW)],
    [
      'under another secret',
      () => readLoginCode(sent(code), publicUrl, () => ({ ...issuer, login: { clientSecret: 'new' } }), NOW),
    ],
    [
      'another redirect URI',
      () => readLoginCode(sent(code, { redirectUri: 'http://127.0.0.1:5124/' }), publicUrl, find, NOW),
    ],
    ['another verifier', () => readLoginCode(sent(code, { verifier: 'w'.repeat(43) }), publicUrl, find, NOW)],
    [
      'the challenge as verifier',
      () => readLoginCode(sent(code, { verifier: request.codeChallenge }), publicUrl, find, NOW),
    ],
    ['a short verifier', () => readLoginCode(sent(code, { verifier: 'v' }), publicUrl, find, NOW)],
  ]
  for (const [what, read] of cases)
    assert.throws(read, (error) => error instanceof ServiceError && error.code === 'invalid_grant', what)
})
