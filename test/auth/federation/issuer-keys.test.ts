import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ServiceError } from '../../../src/errors.ts'
import { startForwardProxy } from '../../support/forward-proxy.ts'
import {
  type Behaviour,
  createSigningKey,
  startIssuer,
  type TestIssuer,
} from '../../support/identity/issuer.ts'
import { testFederation } from '../../support/identity/trust.ts'
import { long } from '../../support/long.ts'
import { tempDir } from '../../support/service.ts'
import { startTlsFront } from '../../support/tls-front.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND

/** A federation with one issuer, whose keys are as the options say, and a clock that stands still until it is moved. */
function trusting(t: TestContext, issuer: TestIssuer, options: object = {}, proxies = {}) {
  const time = { now: Date.now() }
  const clock = () => time.now
  const { federation, logLines, path } = testFederation(
    t,
    {
      issuers: { ci: { kind: 'oidc', issuer: issuer.url, ...options } },
      rules: [{ id: 'r', issuer: 'ci', match: { sub: 'caller' }, grant: { key_ttl: '1h' } }],
    },
    { clock, proxies },
  )
  /** Verifies a token that is issued now. @returns `ok`, or the code of the error */
  const verify = async (signing: Parameters<TestIssuer['sign']>[1] = {}) => {
    const now = Math.floor(time.now / 1_000)
    const jwt = issuer.sign({ iat: now, exp: now + 300 }, signing)
    return federation.verify(jwt).then(
      () => 'ok',
      (error: unknown) => {
        assert.ok(error instanceof ServiceError, String(error))
        if (error.code === 'identity_provider_unavailable') retryAfter.push(error.retryAfter ?? 0)
        return error.code
      },
    )
  }
  const retryAfter: number[] = []
  return { time, verify, logLines, retryAfter, path, federation }
}

const total = ({ requests }: TestIssuer) => requests.discovery + requests.jwks

test('keys are read with the first token, once, however many arrive together', async (t) => {
  const issuer = await startIssuer(t)
  const { verify } = trusting(t, issuer)
  assert.equal(total(issuer), 0)
  const results = await Promise.all(Array.from({ length: 50 }, () => verify()))
  assert.deepEqual(new Set(results), new Set(['ok']))
  assert.deepEqual(issuer.requests, { discovery: 1, jwks: 1 })
})

test('a rotated key is found at once, and a withdrawn one is refused from then on', async (t) => {
  const issuer = await startIssuer(t)
  const { verify } = trusting(t, issuer)
  const stolen = issuer.keys[0]
  assert.ok(stolen)
  assert.equal(await verify(), 'ok')
  issuer.rotate()
  assert.deepEqual(new Set(await Promise.all([verify(), verify(), verify()])), new Set(['ok']))
  assert.equal(issuer.requests.jwks, 2)
  assert.equal(await verify({ key: stolen }), 'invalid_token')
})

test('unknown keys cause one read in ten seconds, whatever arrives', async (t) => {
  const issuer = await startIssuer(t)
  const { verify, time } = trusting(t, issuer)
  assert.equal(await verify(), 'ok')
  const flood = () => Promise.all(Array.from({ length: 100 }, (_, i) => verify({ kid: `unknown-${i}` })))
  assert.deepEqual(new Set(await flood()), new Set(['invalid_token']))
  assert.deepEqual(new Set(await flood()), new Set(['invalid_token']))
  assert.equal(issuer.requests.jwks, 2)
  time.now += 9 * SECOND
  await flood()
  assert.equal(issuer.requests.jwks, 2)
  time.now += 2 * SECOND
  await flood()
  assert.equal(issuer.requests.jwks, 3)
  assert.equal(await verify(), 'ok')
})

test('the first token, with an unknown key, causes one read', async (t) => {
  const issuer = await startIssuer(t)
  const { verify } = trusting(t, issuer)
  assert.equal(await verify({ kid: 'unknown' }), 'invalid_token')
  assert.equal(issuer.requests.jwks, 1)
})

test('while an issuer is down and no key of it is known, callers get 503 with a Retry-After that is true', async (t) => {
  const issuer = await startIssuer(t)
  issuer.behaviour = 'down'
  const { verify, time, retryAfter, logLines } = trusting(t, issuer)
  const flood = () => Promise.all(Array.from({ length: 20 }, () => verify()))
  assert.deepEqual(new Set(await flood()), new Set(['identity_provider_unavailable']))
  await flood()
  assert.equal(total(issuer), 1)
  assert.deepEqual(new Set(retryAfter), new Set([10]))
  time.now += 3_500
  await verify()
  assert.equal(retryAfter.at(-1), 7)
  assert.equal(total(issuer), 1)
  const warnings = () => logLines.filter((line) => line.includes('cannot be read'))
  assert.equal(warnings().length, 1)
  assert.match(
    warnings()[0] ?? '',
    /"issuer":"ci","reason":"http:\/\/127\.0\.0\.1:\d+\/\.well-known\/openid-configuration: /,
  )
  time.now += 7 * SECOND
  assert.equal(await verify(), 'identity_provider_unavailable')
  assert.equal(total(issuer), 2)
  assert.equal(warnings().length, 1, 'a fault that lasts is logged once')
  issuer.behaviour = 'up'
  time.now += (retryAfter.at(-1) ?? 0) * SECOND
  assert.equal(await verify(), 'ok')
  assert.equal(logLines.filter((line) => line.includes('can be read again')).length, 1)
})

test('known keys are used while their issuer is down, for as long as it lasts', async (t) => {
  const issuer = await startIssuer(t)
  const { verify, time } = trusting(t, issuer)
  assert.equal(await verify(), 'ok')
  issuer.behaviour = 'down'
  for (const minutes of [4, 6, 20, 24 * 60]) {
    time.now += minutes * MINUTE
    assert.equal(await verify(), 'ok', `${minutes} minutes later`)
  }
  assert.equal(await verify({ kid: 'unknown' }), 'identity_provider_unavailable')
  const before = total(issuer)
  for (let i = 0; i < 20; i++) await verify({ kid: `unknown-${i}` })
  assert.equal(total(issuer), before, 'failures have a cooldown, too')
})

test('keys are read again after five minutes, beside the requests that use them', async (t) => {
  const issuer = await startIssuer(t)
  const { verify, time } = trusting(t, issuer)
  assert.equal(await verify(), 'ok')
  time.now += 4 * MINUTE
  await verify()
  assert.deepEqual(issuer.requests, { discovery: 1, jwks: 1 })
  time.now += 2 * MINUTE
  issuer.behaviour = 'slow'
  assert.equal(await verify(), 'ok', 'it did not wait for the issuer')
  while (issuer.requests.discovery < 2) await new Promise(setImmediate)
})

test('a key that its issuer withdraws is used for 15 minutes at most', async (t) => {
  const issuer = await startIssuer(t)
  const { verify, time } = trusting(t, issuer)
  const withdrawn = issuer.keys[0]
  assert.ok(withdrawn)
  assert.equal(await verify(), 'ok')
  issuer.rotate()
  time.now += 15 * MINUTE
  assert.equal(await verify({ key: withdrawn }), 'invalid_token')
})

test('an issuer that withdraws all of its keys is believed', async (t) => {
  const issuer = await startIssuer(t)
  const { verify, time, logLines } = trusting(t, issuer)
  const [key] = issuer.keys
  assert.ok(key)
  assert.equal(await verify({ key }), 'ok')
  issuer.keys.length = 0
  time.now += 15 * MINUTE
  assert.equal(await verify({ key }), 'invalid_token')
  assert.match(logLines.join(), /"reason":"it has no key for RS256, ES256".*verifies no token/)
})

test('a clock that is set back does not keep keys for ever', async (t) => {
  const issuer = await startIssuer(t)
  const { verify, time } = trusting(t, issuer)
  const withdrawn = issuer.keys[0]
  assert.ok(withdrawn)
  await verify()
  issuer.rotate()
  time.now -= 365 * 24 * 60 * MINUTE
  assert.equal(await verify({ key: withdrawn }), 'invalid_token')
})

const faults: [Behaviour, reason: RegExp][] = [
  ['down', /socket hang up|ECONNRESET/],
  ['failing', /the response has the status 500/],
  ['slow', /no complete response within 5 seconds/],
  ['huge', /more than 256 KiB/],
  ['redirecting', /it redirects \(302\), which is not followed/],
  ['not json', /it is no discovery document with issuer and jwks_uri/],
  ['other issuer', /it names the issuer \\"http.*\/other\\" instead of http/],
]
/** An issuer that hangs costs one caller its time, and the others nothing. */
async function hang(t: TestContext): Promise<void> {
  const issuer = await startIssuer(t)
  const { verify, time } = trusting(t, issuer)
  assert.equal(await verify(), 'ok')
  issuer.behaviour = 'slow'
  time.now += 20 * MINUTE
  assert.equal(await verify(), 'ok', 'it waited for the time limit')
  time.now += 20 * MINUTE
  assert.equal(await Promise.race([verify(), sleep(4_000, 'it waits, too', { ref: false })]), 'ok')
  while (issuer.requests.discovery < 3) await new Promise(setImmediate)
}

test('an issuer that does not answer as it should', { ...long, concurrency: true }, async (t) => {
  const target = createServer((_, response) => void response.end('{}')).listen(0, '127.0.0.1')
  t.after(() => target.close())
  let redirected = 0
  target.on('request', () => redirected++)
  await Promise.all([
    t.test('it hangs after its keys were read', hang),
    ...faults.map(([behaviour, reason]) =>
      t.test(behaviour, async (t) => {
        const issuer = await startIssuer(t)
        issuer.behaviour = behaviour
        issuer.redirectTo = `http://127.0.0.1:${(target.address() as AddressInfo).port}/`
        const { verify, logLines } = trusting(t, issuer)
        assert.equal(await verify(), 'identity_provider_unavailable')
        assert.match(logLines.join(), reason)
      }),
    ),
  ])
  assert.equal(redirected, 0)
})

test('a discovery document cannot lead to addresses that are not allowed', async (t) => {
  for (const jwksUri of [
    'http://169.254.169.254/latest/meta-data/',
    'https://169.254.169.254/',
    'https://[fd00:ec2::254]/',
    'http://example.com/jwks',
    'file:///etc/passwd',
    'not a URL',
  ])
    await t.test(jwksUri, async (t) => {
      const issuer = await startIssuer(t)
      issuer.jwksUri = jwksUri
      const { verify, logLines } = trusting(t, issuer)
      assert.equal(await verify(), 'identity_provider_unavailable')
      assert.match(logLines.join(), /its jwks_uri must/)
    })
})

test('keys that cannot be meant for the token are not used', async (t) => {
  const issuer = await startIssuer(t, { alg: 'RS256' })
  const rsa = (bits: number) => generateKeyPairSync('rsa', { modulusLength: bits })
  const weak = rsa(1_024)
  const [right] = issuer.keys
  assert.ok(right)
  const publish = (jwk: object) => issuer.extraKeys.push({ ...jwk, kid: 'extra' })
  const { verify, time } = trusting(t, issuer)
  const cases: [what: string, jwk: object, key: typeof weak.privateKey][] = [
    ['a short RSA key', weak.publicKey.export({ format: 'jwk' }), weak.privateKey],
    ['a key for encryption', { ...right.jwk, use: 'enc' }, right.privateKey],
    ['a key for other operations', { ...right.jwk, key_ops: ['encrypt'] }, right.privateKey],
    ['a key of another algorithm', { ...right.jwk, alg: 'PS256' }, right.privateKey],
    [
      'a key with its private part',
      { ...right.privateKey.export({ format: 'jwk' }), alg: 'RS256' },
      right.privateKey,
    ],
    ['a key of another type', { ...createSigningKey('ES256').jwk }, right.privateKey],
    ['a key that is no key', { kty: 'RSA', n: 'AQAB' }, right.privateKey],
  ]
  for (const [what, jwk, key] of cases)
    await t.test(what, async () => {
      issuer.extraKeys.length = 0
      publish(jwk)
      time.now += 16 * MINUTE
      assert.equal(await verify({ key, alg: 'RS256', kid: 'extra' }), 'invalid_token')
      assert.equal(await verify(), 'ok')
    })
  issuer.extraKeys.push({ kty: 'oct', k: 'c2VjcmV0', kid: 'oct' }, null, 'text', 1)
  time.now += 16 * MINUTE
  assert.equal(await verify(), 'ok')
})

test('keys that share an id, or have none, are all tried', async (t) => {
  const issuer = await startIssuer(t)
  const second = issuer.addKey()
  issuer.keys.length = 0
  for (const { jwk } of [createSigningKey('ES256'), second]) issuer.extraKeys.push({ ...jwk, kid: 'same' })
  const { verify } = trusting(t, issuer)
  assert.equal(await verify({ key: second, kid: 'same' }), 'ok')
  assert.equal(await verify({ key: second, kid: undefined }), 'ok')
})

test('an issuer of the network cannot lead to a service of this machine', async (t) => {
  const proxy = await startForwardProxy(t)
  const issuer = await startIssuer(t)
  const front = await startTlsFront(t, 'idp.example.com', issuer.origin)
  issuer.url = `https://idp.example.com:${front.port}`
  const { verify, logLines } = trusting(t, issuer, { ca_file: front.file }, { HTTPS_PROXY: proxy.url })
  assert.equal(await verify(), 'identity_provider_unavailable')
  assert.match(logLines.join(), /its jwks_uri must not have a loopback address/)
  assert.equal(issuer.requests.jwks, 0)
})

test('jwks_uri skips the discovery document, with a slash at the end of the issuer too', async (t) => {
  const issuer = await startIssuer(t)
  const { verify } = trusting(t, issuer, { jwks_uri: issuer.jwksUri })
  assert.equal(await verify(), 'ok')
  assert.deepEqual(issuer.requests, { discovery: 0, jwks: 1 })
  const other = await startIssuer(t)
  other.url = `${other.url}/`
  assert.equal(await trusting(t, other).verify(), 'ok')
})

test('jwks_file has the keys without the network, and is read again', async (t) => {
  const issuer = await startIssuer(t)
  const file = join(tempDir(t), 'jwks.json')
  const write = () => writeFileSync(file, JSON.stringify({ keys: issuer.keys.map(({ jwk }) => jwk) }))
  write()
  const { verify } = trusting(t, issuer, { jwks_file: file })
  assert.equal(await verify(), 'ok')
  issuer.rotate()
  write()
  assert.equal(await verify(), 'ok')
  assert.equal(total(issuer), 0)
})

test('a cluster whose certificate is its own, and which requires a token that is replaced', async (t) => {
  const issuer = await startIssuer(t, { bearer: 'first' })
  const front = await startTlsFront(t, 'localhost', issuer.origin)
  issuer.url = `https://localhost:${front.port}`
  issuer.jwksUri = `${issuer.url}/jwks`
  const token = join(tempDir(t), 'token')
  writeFileSync(token, 'first\n')
  const { verify, time } = trusting(t, issuer, { ca_file: front.file, bearer_token_file: token })
  assert.equal(await verify(), 'ok')
  issuer.bearer = 'second'
  writeFileSync(token, 'second\n')
  issuer.rotate()
  time.now += 16 * MINUTE
  assert.equal(await verify(), 'ok')

  const distrusting = trusting(t, issuer, { bearer_token_file: token })
  assert.equal(await distrusting.verify(), 'identity_provider_unavailable')
  assert.match(distrusting.logLines.join(), /self-signed certificate/)
  const without = trusting(t, issuer, { ca_file: front.file })
  assert.equal(await without.verify(), 'identity_provider_unavailable')
  assert.match(without.logLines.join(), /the response has the status 401/)
  assert.ok(!without.logLines.join().includes('second'))
})

test('an issuer beyond an outgoing proxy is asked through it', async (t) => {
  const proxy = await startForwardProxy(t)
  const issuer = await startIssuer(t)
  const front = await startTlsFront(t, 'idp.example.com', issuer.origin)
  issuer.url = `https://idp.example.com:${front.port}`
  issuer.jwksUri = `${issuer.url}/jwks`
  const { verify } = trusting(t, issuer, { ca_file: front.file }, { HTTPS_PROXY: proxy.url })
  assert.equal(await verify(), 'ok')
  const connection = `CONNECT idp.example.com:${front.port}`
  assert.deepEqual(proxy.requests, [connection, connection])
})
