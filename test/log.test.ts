import assert from 'node:assert/strict'
import { test } from 'node:test'
import { randomBase62 } from '../src/auth/random.ts'
import { createSecret } from '../src/auth/token-format.ts'
import { containsSecret, createLogger } from '../src/log.ts'

test('no secret appears in a log line, whatever field or text contains it', () => {
  const lines: string[] = []
  const log = createLogger('trace', { write: (line) => void lines.push(line) })
  const secrets = [createSecret('fkb_'), createSecret('fkm_'), randomBase62(40), 'not-one-of-ours-but-secret']
  const [bootstrap = '', management = '', key = '', foreign = ''] = secrets
  log.info({ headers: { authorization: `Bearer ${foreign}`, 'x-api-key': key } }, `with ${bootstrap}`)
  log.error(
    { err: new Error(`bad: ${management}`, { cause: new Error(`authorization: bearer  ${foreign}`) }) },
    'x',
  )
  log.warn({ deep: { er: { still: `"${key}"` } } }, 'Bearer is a word')
  assert.equal(lines.length, 3)
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
    ...['the bearer of this token', 'Bearer: CI', 'tok_0123456789abcdefABCD', 'reg_0123456789abcdefABCD'],
  ])
    assert.equal(containsSecret(text), false, text)
  for (const text of [
    ...[createSecret('fkb_'), createSecret('fkm_'), randomBase62(40), `key=${randomBase62(40)}`],
    `Bearer ${randomBase62(30)}`,
  ])
    assert.equal(containsSecret(text), true, text)
})
