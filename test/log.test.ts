import assert from 'node:assert/strict'
import { test } from 'node:test'
import { randomBase62 } from '../src/auth/random.ts'
import { createSecret } from '../src/auth/token-format.ts'
import { createLogger } from '../src/log.ts'

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
