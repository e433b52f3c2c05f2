import assert from 'node:assert/strict'
import { test } from 'node:test'
import { randomBase62 } from '../src/auth/random.ts'
import { createSecret } from '../src/auth/token-format.ts'
import { containsSecret, createLogger, redact } from '../src/log.ts'

/** A text of the form of a JWT, with this JSON as its header. */
function jwt(header: string): string {
  const claims = '{"iss":"https://idp.example.com","sub":"agent"}'
  return [header, claims, randomBase62(60)].map((part) => Buffer.from(part).toString('base64url')).join('.')
}

test('no secret appears in a log line, whatever field or text contains it', () => {
  const lines: string[] = []
  const log = createLogger('trace', { write: (line) => void lines.push(line) })
  const foreign = 'not-one-of-ours-but-secret'
  const [bootstrap, management, key] = [createSecret('fkb_'), createSecret('fkm_'), randomBase62(40)]
  const jwts = ['{"alg":"RS256"}', '{ "alg":"RS256"}', '{\n  "alg":"RS256"}', '{\r\n  "alg":"RS256"}'].map(
    jwt,
  )
  const secrets = [bootstrap, management, key, foreign, ...jwts.flatMap((one) => one.split('.'))]
  log.info({ headers: { authorization: `Bearer ${foreign}`, 'x-api-key': key } }, `with ${bootstrap}`)
  log.error(
    { err: new Error(`bad: ${management}`, { cause: new Error(`authorization: bearer  ${foreign}`) }) },
    'x',
  )
  log.warn({ deep: { er: { still: `"${key}"` } } }, 'Bearer is a word')
  for (const one of jwts) {
    log.info({ url: `/x?token=${one}&y`, err: new Error(`at ${one}.`) }, `Bearer%20${one}`)
    log.info({ cut: one.slice(0, -40) }, `lines\n${one}\n\t${one}`)
  }
  assert.equal(lines.length, 3 + 2 * jwts.length)
  for (const line of lines) {
    for (const secret of secrets) assert.ok(!line.includes(secret), line)
    assert.ok(JSON.parse(line), 'still a JSON line')
    assert.match(line, /\[redacted\]/)
  }
})

test('a hash, an id and an ARN are no secrets; tokens and keys are', () => {
  for (const text of [
    ...[
      'da39a3ee5e6b4b0d3255bfef95601890afd80709',
      'DA39A3EE5E6B4B0D3255BFEF95601890AFD80709',
      '1'.repeat(40),
    ],
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    ...['6f1c2c3e-7b7e-4b6e-9a57-1f3a5b1c2d3e', 'arn:aws:apigateway:eu-west-1::/usageplans/abc123', 'abc123'],
    ...['the framework of the homework', 'keyJson', 'eyes.example.com', 'e.y.J'.repeat(20)],
    ...['the bearer of this token', 'Bearer: CI', 'tok_0123456789abcdefABCD', 'reg_0123456789abcdefABCD'],
  ])
    assert.equal(containsSecret(text), false, text)
  for (const text of [
    ...[createSecret('fkb_'), createSecret('fkm_'), randomBase62(40), `key=${randomBase62(40)}`],
    `Bearer ${randomBase62(30)}`,
    ...[jwt('{"alg":"RS256"}'), `CI ${jwt('{"typ":"JWT"}').slice(0, 60)}`],
  ])
    assert.equal(containsSecret(text), true, text)
})

test('a text full of beginnings of JWTs is searched in linear time', () => {
  const startedAt = performance.now()
  for (const part of ['eyJ', 'eyJ.', 'ewogI', 'eyJhbGciOiJSUzI1NiJ9 ', 'e'])
    redact(part.repeat(1_000_000 / part.length))
  assert.ok(performance.now() - startedAt < 5_000)
})
