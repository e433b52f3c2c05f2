import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readAuthorizationRequest } from '../../../src/auth/login/authorization-request.ts'
import { ServiceError } from '../../../src/errors.ts'

const publicUrl = 'https://keys.example.com/prod'
const ownPages = [`${publicUrl}/`, `${publicUrl}/connect/code`]
const redirectUri = 'http://127.0.0.1:5123/callback?a=1'
const codeChallenge = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
const valid: [string, string][] = [
  ['response_type', 'code'],
  ['client_id', 'firstkey'],
  ['redirect_uri', redirectUri],
  ['code_challenge', codeChallenge],
  ['code_challenge_method', 'S256'],
  ['state', 'a state'],
]

/** Reads the valid request with some parameters changed, removed (`undefined`), and added again. */
function read(changes: Record<string, string | undefined>, repeated: [string, string][] = []) {
  const changed = Object.entries({ ...Object.fromEntries(valid), ...changes })
  const present = changed.filter((entry): entry is [string, string] => entry[1] !== undefined)
  return readAuthorizationRequest(new URLSearchParams([...present, ...repeated]), { ownPages, publicUrl })
}

test('a valid request is read, with parameters that are not known or have no value', () => {
  const request = { redirectUri, state: 'a state', codeChallenge }
  const target = { kind: 'program', host: '127.0.0.1', port: 5_123 }
  const expected = { request, target, issuer: undefined, forcesLogin: false }
  assert.deepEqual(read({}), expected)
  assert.deepEqual(
    read({ scope: 'openid', nonce: 'n', resource: publicUrl, display: 'page', prompt: 'consent' }),
    expected,
  )
  assert.deepEqual(read({ issuer: '', response_mode: '', prompt: '', request: '' }), expected)
  assert.deepEqual(read({ response_mode: 'query' }), expected)
  assert.deepEqual(read({ issuer: 'staff', prompt: 'login consent' }), {
    ...expected,
    ...{ issuer: 'staff', forcesLogin: true },
  })
  assert.deepEqual(read({ state: undefined }), {
    ...expected,
    request: { ...request, state: undefined },
  })
  assert.deepEqual(read({ redirect_uri: ownPages[0] }), {
    ...expected,
    ...{ request: { ...request, redirectUri: ownPages[0] }, target: { kind: 'page' } },
  })
})

test('nothing is sent to a redirect URI before it and the client are trusted', () => {
  for (const [changes, repeated] of [
    [{ client_id: undefined }],
    [{ client_id: '' }],
    [{ client_id: 'Firstkey' }],
    [{ client_id: 'other', response_type: 'token' }],
    [{ redirect_uri: undefined }],
    [{ redirect_uri: 'https://evil.com/' }],
    [{ redirect_uri: 'http://127.0.0.1@evil.com/', response_type: 'token' }],
    [{}, [['redirect_uri', redirectUri]]],
    [{}, [['redirect_uri', 'https://evil.com/']]],
    [{}, [['client_id', 'firstkey']]],
  ] satisfies [Record<string, string | undefined>, [string, string][]?][])
    assert.throws(
      () => read(changes, repeated),
      (error) => error instanceof ServiceError && error.code === 'invalid_request',
      JSON.stringify(changes),
    )
})

test('every other fault is sent to the redirect URI, with the state and the issuer', () => {
  const cases: [error: string, changes: Record<string, string | undefined>, repeated?: [string, string][]][] =
    [
      ['invalid_request', { response_type: undefined }],
      ['unsupported_response_type', { response_type: 'token' }],
      ['unsupported_response_type', { response_type: 'code id_token' }],
      ['unsupported_response_type', { response_type: 'CODE' }],
      ['invalid_request', { response_mode: 'fragment' }],
      ['invalid_request', { response_mode: 'form_post' }],
      ['invalid_request', { code_challenge: undefined }],
      ['invalid_request', { code_challenge: undefined, code_challenge_method: undefined }],
      ['invalid_request', { code_challenge_method: undefined }],
      ['invalid_request', { code_challenge_method: 'plain' }],
      ['invalid_request', { code_challenge_method: 's256' }],
      ['invalid_request', { code_challenge: `${codeChallenge}=` }],
      ['invalid_request', { code_challenge: 'short' }],
      ['invalid_request', { code_challenge: `${codeChallenge}\n` }],
      ['interaction_required', { prompt: 'none' }],
      ['request_not_supported', { request: 'eyJ' }],
      ['request_uri_not_supported', { request_uri: 'https://evil.com/' }],
      [
        'invalid_request',
        {},
        [
          ['scope', 'a'],
          ['scope', 'b'],
        ],
      ],
      ['invalid_request', {}, [['response_type', 'code']]],
      [
        'invalid_request',
        {},
        [
          ['<script>', 'a'],
          ['<script>', 'b'],
        ],
      ],
    ]
  for (const [error, changes, repeated] of cases) {
    const outcome = read(changes, repeated)
    assert.ok('redirectTo' in outcome, JSON.stringify(changes))
    const url = new URL(outcome.redirectTo)
    assert.ok(outcome.redirectTo.startsWith(`${redirectUri}&error=`), outcome.redirectTo)
    const { error_description, ...rest } = Object.fromEntries(url.searchParams)
    assert.deepEqual(rest, { a: '1', error, state: 'a state', iss: publicUrl }, JSON.stringify(changes))
    assert.match(error_description ?? '', /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/)
    assert.doesNotMatch(error_description ?? '', /script/)
  }
})

test('a state that is not valid is not sent back', () => {
  for (const [changes, repeated] of [
    [{ state: 'x'.repeat(1_025) }],
    [{ state: 'a\r\nb' }],
    [{ state: 'é' }],
    [{}, [['state', 'other']]],
  ] satisfies [Record<string, string>, [string, string][]?][]) {
    const outcome = read(changes, repeated)
    assert.ok('redirectTo' in outcome)
    const { searchParams } = new URL(outcome.redirectTo)
    assert.deepEqual([searchParams.get('error'), searchParams.get('state')], ['invalid_request', null])
  }
  assert.ok('request' in read({ state: 'x'.repeat(1_024) }))
})
