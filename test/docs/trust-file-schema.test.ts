import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { trustJsonSchema } from '../../src/auth/federation/trust-schema.ts'

test('docs/trust-file.schema.json is that of the code; if not, run npm run docs', () => {
  const written = readFileSync(join(import.meta.dirname, '../../docs/trust-file.schema.json'), 'utf8')
  assert.equal(written, `${JSON.stringify(trustJsonSchema(), null, 2)}\n`)
})
