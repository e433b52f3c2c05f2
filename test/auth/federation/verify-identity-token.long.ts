import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { test } from 'node:test'
import { ALGORITHMS } from '../../../src/auth/federation/issuer-kinds.ts'
import { ServiceError } from '../../../src/errors.ts'
import {
  type Claims,
  createSigningKey,
  type SignOptions,
  startIssuer,
} from '../../support/identity/issuer.ts'
import { testFederation } from '../../support/identity/trust.ts'

const AUDIENCE = 'http://localhost:3000'
const now = Math.floor(Date.UTC(2026, 10, 28, 12) / 1_000)
const clock = () => now * 1_000

/** One issuer that signs with RS256 and ES384, whose tokens can be used once, and one of which nothing is known. */
async function setUp(
  t: Parameters<typeof startIssuer>[0] & Parameters<typeof testFederation>[0],
  algorithms = ['RS256', 'ES384'],
) {
  const issuer = await startIssuer(t, { alg: 'RS256', clock, path: '/realms/x' })
  issuer.addKey('ES384')
  const stranger = await startIssuer(t, { alg: 'RS256', clock })
  const ci = { kind: 'oidc', issuer: issuer.url, algorithms, single_use: true }
  const rules = [{ id: 'all', issuer: 'ci', match: { sub: 'caller' }, grant: { key_ttl: '1h' } }]
  return { issuer, stranger, ...testFederation(t, { issuers: { ci }, rules }, { clock }) }
}

async function refusalOf(verification: Promise<unknown>): Promise<ServiceError> {
  const error = await verification.then(
    () => assert.fail('the token was accepted'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof ServiceError, String(error))
  return error
}

test('a token of a trusted issuer', async (t) => {
  const { issuer, federation } = await setUp(t)
  for (const alg of ['RS256', 'ES384'] as const) {
    const verified = await federation.verify(issuer.sign({ jti: alg }, { alg }))
    assert.equal(verified.issuer.name, 'ci')
    assert.equal(verified.claims.sub, 'caller')
    assert.equal(verified.proof?.expiresAt, (now + 300 + 120) * 1_000)
    assert.equal(verified.proof?.hash.byteLength, 32)
  }
  assert.deepEqual(issuer.requests, { discovery: 1, jwks: 1 })
})

test('every algorithm that a trust file may name', async (t) => {
  const issuer = await startIssuer(t, { clock })
  for (const alg of ALGORITHMS) issuer.addKey(alg)
  const rules = [{ id: 'all', issuer: 'ci', match: { sub: 'caller' }, grant: { key_ttl: '1h' } }]
  const ci = { kind: 'oidc', issuer: issuer.url, algorithms: ALGORITHMS }
  const { federation } = testFederation(t, { issuers: { ci }, rules }, { clock })
  for (const alg of ALGORITHMS)
    await t.test(alg, async () => {
      assert.equal((await federation.verify(issuer.sign({}, { alg }))).claims.sub, 'caller')
    })
})

test('the proof depends on the issuer and jti alone', async (t) => {
  const { issuer, federation } = await setUp(t)
  const hashOf = async (claims: Claims, options?: SignOptions) => {
    const { proof } = await federation.verify(issuer.sign(claims, options))
    return Buffer.from(proof?.hash ?? []).toString('hex')
  }
  const first = await hashOf({ jti: 'a' })
  assert.equal(
    await hashOf({ jti: 'a', sub: 'other', iat: now - 5, exp: now + 100 }, { alg: 'ES384' }),
    first,
  )
  assert.notEqual(await hashOf({ jti: 'A' }), first)
  const other = await setUp(t)
  const { proof } = await other.federation.verify(other.issuer.sign({ jti: 'a' }))
  assert.notEqual(Buffer.from(proof?.hash ?? []).toString('hex'), first)
})

const accepted: [what: string, claims: Claims, options?: SignOptions][] = [
  ['the audience in a list of one', { aud: [AUDIENCE] }],
  ['no type, as Kubernetes', {}, { header: { typ: undefined } }],
  ['an access token (RFC 9068)', {}, { header: { typ: 'at+jwt' } }],
  ['the long form of that type', {}, { header: { typ: 'application/at+jwt' } }],
  ['another case of the type', {}, { header: { typ: 'jwt' } }],
  ['no kid', {}, { kid: undefined }],
  ['an end 59 seconds ago', { exp: now - 59, iat: now - 300 }],
  ['an issue in 60 seconds', { iat: now + 60 }],
  ['a start in 60 seconds', { nbf: now + 60 }],
  ['a lifetime of a day', { exp: now + 86_400 }],
  ['fractions of seconds', { exp: now + 300.5, iat: now - 0.5 }],
  ['a thumbprint of a certificate in the header', {}, { header: { x5t: 'abc' } }],
]
test('what is accepted', async (t) => {
  const { issuer, federation } = await setUp(t)
  for (const [what, claims, options] of accepted)
    await t.test(what, async () => {
      await federation.verify(issuer.sign(claims, options))
    })
})

const refused: [what: string, code: string, detail: RegExp, claims: Claims, options?: SignOptions][] = [
  [
    'no audience',
    'audience_mismatch',
    /must have the audience "http:\/\/localhost:3000"\./,
    { aud: undefined },
  ],
  ['another audience', 'audience_mismatch', /must have the audience/, { aud: 'https://other.example.com' }],
  ['a slash after the audience', 'audience_mismatch', /must have the audience/, { aud: `${AUDIENCE}/` }],
  [
    'an audience that begins alike',
    'audience_mismatch',
    /must have the audience/,
    { aud: `${AUDIENCE}.evil.com` },
  ],
  [
    'several audiences',
    'audience_mismatch',
    /, and for no other\./,
    { aud: [AUDIENCE, 'https://other.example.com'] },
  ],
  ['the audience twice', 'audience_mismatch', /, and for no other\./, { aud: [AUDIENCE, AUDIENCE] }],
  ['an empty list of audiences', 'audience_mismatch', /must have the audience/, { aud: [] }],
  ['a list in the list', 'audience_mismatch', /must have the audience/, { aud: [[AUDIENCE]] }],
  [
    'an object as audience',
    'audience_mismatch',
    /must have the audience/,
    { aud: { 0: AUDIENCE, length: 1 } },
  ],
  ['an empty audience', 'audience_mismatch', /must have the audience/, { aud: '' }],
  ['no end', 'invalid_token', /"exp"/, { exp: undefined }],
  ['an end as a text', 'invalid_token', /"exp"/, { exp: String(now + 300) }],
  ['an end beyond all dates', 'invalid_token', /"exp"/, { exp: 1e300 }],
  ['an end in ten years', 'invalid_token', /more than 24 hours/, { exp: now + 315_360_000 }],
  ['a lifetime of a day and a second', 'invalid_token', /more than 24 hours/, { exp: now + 86_401 }],
  [
    'a long lifetime, nearly over',
    'invalid_token',
    /more than 24 hours/,
    { iat: now - 90_000, exp: now + 10 },
  ],
  [
    'an end 60 seconds ago',
    'token_expired',
    /expired at 2026-11-28T11:59:00\.000Z/,
    { exp: now - 60, iat: now - 300 },
  ],
  ['no time of issue', 'invalid_token', /"iat"/, { iat: undefined }],
  ['a time of issue as a text', 'invalid_token', /"iat"/, { iat: String(now) }],
  ['an issue in 61 seconds', 'invalid_token', /issued in the future/, { iat: now + 61 }],
  ['a start in 61 seconds', 'invalid_token', /not valid before/, { nbf: now + 61 }],
  ['a start as a text', 'invalid_token', /"nbf"/, { nbf: String(now) }],
  ['no subject', 'invalid_token', /"sub"/, { sub: undefined }],
  ['an empty subject', 'invalid_token', /"sub"/, { sub: '' }],
  ['a number as subject', 'invalid_token', /"sub"/, { sub: 42 }],
  ['a list as subject', 'invalid_token', /"sub"/, { sub: ['caller'] }],
  ['null as subject', 'invalid_token', /"sub"/, { sub: null }],
  ['a subject without end', 'invalid_token', /"sub"/, { sub: 'x'.repeat(3_000) }],
  ['no jti', 'invalid_token', /"jti"/, { jti: undefined }],
  ['an empty jti', 'invalid_token', /"jti"/, { jti: '' }],
  ['a number as jti', 'invalid_token', /"jti"/, { jti: 1 }],
  ['a jti without end', 'invalid_token', /"jti"/, { jti: 'x'.repeat(3_000) }],
  ['no issuer', 'invalid_token', /"iss"/, { iss: undefined }],
  ['a list as issuer', 'invalid_token', /"iss"/, { iss: ['x'] }],
  [
    'another issuer',
    'issuer_not_trusted',
    /"https:\/\/evil\.example\.com" is not trusted/,
    { iss: 'https://evil.example.com' },
  ],
  ['__proto__ as issuer', 'issuer_not_trusted', /is not trusted/, { iss: '__proto__' }],
  [
    'an algorithm that is not allowed',
    'invalid_token',
    /"PS256"; of this issuer, only RS256 and ES384/,
    {},
    { alg: 'PS256' },
  ],
  ['no signature', 'invalid_token', /"none"; of this issuer/, {}, { alg: 'none' }],
  ['no signature, in another case', 'invalid_token', /"NoNe"; of this issuer/, {}, { alg: 'NoNe' }],
  ['an algorithm in another case', 'invalid_token', /"rs256"; of this issuer/, {}, { alg: 'rs256' }],
  ['no algorithm', 'invalid_token', /names no algorithm/, {}, { header: { alg: undefined } }],
  ['a list as algorithm', 'invalid_token', /names no algorithm/, {}, { header: { alg: ['RS256'] } }],
  [
    'its own key in the header',
    'invalid_token',
    /has "jwk"/,
    {},
    { header: { jwk: createSigningKey('RS256').jwk } },
  ],
  [
    'the URL of its own keys',
    'invalid_token',
    /has "jku"/,
    {},
    { header: { jku: 'https://evil.example.com/jwks' } },
  ],
  [
    'the URL of a certificate',
    'invalid_token',
    /has "x5u"/,
    {},
    { header: { x5u: 'https://evil.example.com/x5u' } },
  ],
  ['a certificate', 'invalid_token', /has "x5c"/, {}, { header: { x5c: ['MII'] } }],
  ['a critical extension', 'invalid_token', /has "crit"/, {}, { header: { crit: ['exp'], exp: now } }],
  ['an empty list of extensions', 'invalid_token', /has "crit"/, {}, { header: { crit: [] } }],
  ['an unencoded payload', 'invalid_token', /has "b64"/, {}, { header: { b64: false } }],
  ['a logout token', 'invalid_token', /\("typ"\)/, {}, { header: { typ: 'logout+jwt' } }],
  ['a number as type', 'invalid_token', /\("typ"\)/, {}, { header: { typ: 1 } }],
  ['a number as kid', 'invalid_token', /"kid"/, {}, { header: { kid: 1 } }],
  ['a kid without end', 'invalid_token', /"kid"/, {}, { header: { kid: 'x'.repeat(1_000) } }],
  ['a kid that is a path', 'invalid_token', /does not publish/, {}, { kid: '../../etc/passwd' }],
  [
    'a kid of another algorithm',
    'invalid_token',
    /does not publish for ES384/,
    {},
    { alg: 'ES384', kid: 'RSA' },
  ],
  ['a token of 17 KiB', 'invalid_token', /longer than 16 KiB/, { more: 'x'.repeat(13_000) }],
]
test('what is refused', async (t) => {
  const { issuer, federation } = await setUp(t)
  const rsa = issuer.keys[0]?.kid
  for (const [what, code, detail, claims, options = {}] of refused)
    await t.test(what, async () => {
      const jwt = issuer.sign(claims, options.kid === 'RSA' ? { ...options, kid: rsa } : options)
      const error = await refusalOf(federation.verify(jwt))
      assert.equal(error.code, code, error.message)
      assert.match(error.message, detail)
      assert.doesNotMatch(error.nextStep, /copied all of it|bootstrap token from the operator/)
      const words = JSON.stringify([error.message, error.nextStep, error.identity])
      assert.ok(!words.includes(jwt.slice(0, 40)) && !words.includes(jwt.split('.')[2] || '\0'), words)
    })
})

test('signatures of others are refused', async (t) => {
  const { issuer, stranger, federation } = await setUp(t)
  const kid = issuer.keys[0]?.kid
  const own = createSigningKey('RS256')
  const pem = issuer.keys[0]?.publicKey.export({ type: 'spki', format: 'pem' }) ?? ''
  const [header, payload = '', signature] = issuer.sign().split('.')
  const tampered = { ...JSON.parse(Buffer.from(payload, 'base64url').toString()), sub: 'admin' }
  const forgeries: [string, string, RegExp][] = [
    [
      'another key under its kid',
      issuer.sign({}, { key: own, kid }),
      /signature .* is not that of its issuer/,
    ],
    ['another issuer under its name', stranger.sign({ iss: issuer.url }), /does not publish/],
    [
      'HMAC under the public key',
      issuer.sign({}, { alg: 'HS256', key: Buffer.from(pem), kid }),
      /"HS256"; of this issuer/,
    ],
    [
      'other claims',
      `${header}.${Buffer.from(JSON.stringify(tampered)).toString('base64url')}.${signature}`,
      /signature/,
    ],
    ['no signature', `${header}.${payload}.`, /signature/],
    ['a cut signature', `${header}.${payload}.${signature?.slice(0, 20)}`, /signature/],
    ['another algorithm for the key', issuer.sign({}, { header: { alg: 'ES384' }, kid }), /does not publish/],
  ]
  assert.equal(createPublicKey(pem).asymmetricKeyType, 'rsa')
  for (const [what, jwt, detail] of forgeries)
    await t.test(what, async () => {
      const error = await refusalOf(federation.verify(jwt))
      assert.equal(error.code, 'invalid_token')
      assert.match(error.message, detail)
    })
})

test('what is no JWT is refused', async (t) => {
  const { issuer, federation } = await setUp(t)
  const encode = (text: string) => Buffer.from(text).toString('base64url')
  const texts = {
    'three words': 'a.b.c',
    'two parts': issuer.sign().split('.').slice(0, 2).join('.'),
    'five parts': `${issuer.sign()}.x.y`,
    'a text as payload': issuer.signText('"text"'),
    'a list as payload': issuer.signText('[]'),
    'null as payload': issuer.signText('null'),
    'a broken payload': issuer.signText('{"iss":'),
    'deep nesting': issuer.signText('['.repeat(11_000)),
    'a list as header': `${encode('[]')}.${encode('{}')}.x`,
    empty: '..',
  }
  for (const [what, jwt] of Object.entries(texts))
    await t.test(what, async () => {
      const error = await refusalOf(federation.verify(jwt))
      assert.equal(error.code, 'invalid_token')
      assert.match(error.message, /^The token is no JWT/)
      assert.deepEqual(error.identity, { issuer: null, rule: null, claims: {} })
    })
})

test('strange JSON is read as its last words say, and reaches no prototype', async (t) => {
  const { issuer, federation } = await setUp(t)
  const times = `"iat":${now},"exp":${now + 300},"jti":"1","aud":"${AUDIENCE}"`
  const twice = await federation.verify(
    issuer.signText(`{"iss":"x","iss":"${issuer.url}","sub":"a","sub":"caller",${times}}`),
  )
  assert.equal(twice.claims.sub, 'caller')
  // jose reads past a byte order mark; JSON.parse does not.
  const marked = await federation.verify(
    issuer.signText(`\ufeff{"iss":"${issuer.url}","sub":"caller",${times}}`),
  )
  assert.equal(marked.claims.sub, 'caller')
  const hidden = issuer.signText(`{"iss":"${issuer.url}",${times},"__proto__":{"sub":"caller"}}`)
  assert.match((await refusalOf(federation.verify(hidden))).message, /"sub"/)
  const nested = issuer.signText(
    `{"iss":"${issuer.url}","sub":"caller",${times},"x":${'['.repeat(5_000)}${']'.repeat(5_000)}}`,
  )
  assert.equal((await federation.verify(nested)).claims.sub, 'caller')
})

test('an issuer that is nearly right is told from the right one', async (t) => {
  const { issuer, federation } = await setUp(t)
  for (const iss of [`${issuer.url}/`, issuer.url.toUpperCase()]) {
    const error = await refusalOf(federation.verify(issuer.sign({ iss })))
    assert.equal(error.code, 'issuer_not_trusted')
    assert.ok(
      error.message.includes(`"${iss}"`) && error.message.includes(`It trusts "${issuer.url}"`),
      error.message,
    )
  }
})

test('the words of an issuer that is not known are cut and escaped', async (t) => {
  const { issuer, federation } = await setUp(t)
  const error = await refusalOf(
    federation.verify(issuer.sign({ iss: `https://\u202eevil\n${'x'.repeat(1_000)}` })),
  )
  assert.ok(
    error.message.length < 300 && error.message.includes('\\u{202e}') && !error.message.includes('\n'),
    error.message,
  )
  assert.equal(error.identity?.issuer?.length, 200)
})

test('10,000 tokens of unknown issuers cause no request, and nothing of them is kept', async (t) => {
  const { issuer, stranger, federation, logLines } = await setUp(t)
  const jwt = stranger.sign().split('.')
  const bogus = Array.from({ length: 10_000 }, (_, i) => {
    const payload = Buffer.from(
      JSON.stringify({ iss: `${stranger.url}/${i}`, sub: 'x', aud: AUDIENCE }),
    ).toString('base64url')
    return `${jwt[0]}.${payload}.${jwt[2]}`
  })
  for (const token of bogus)
    assert.equal((await refusalOf(federation.verify(token))).code, 'issuer_not_trusted')
  assert.deepEqual(
    [issuer.requests, stranger.requests],
    [
      { discovery: 0, jwks: 0 },
      { discovery: 0, jwks: 0 },
    ],
  )
  assert.deepEqual(logLines, [])
})

test('the error of a verified token shows what the rules look at, and no more', async (t) => {
  const { issuer, federation } = await setUp(t)
  const error = await refusalOf(federation.verify(issuer.sign({ aud: 'other', email: 'a@example.com' })))
  assert.deepEqual(error.identity, { issuer: issuer.url, rule: null, claims: { sub: 'caller' } })
  const unverified = await refusalOf(federation.verify(issuer.sign({}, { key: createSigningKey('RS256') })))
  assert.deepEqual(unverified.identity, { issuer: issuer.url, rule: null, claims: {} })
})
