import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { trustJsonSchema } from '../../src/auth/federation/trust-file.ts'

const docs = join(import.meta.dirname, '../../docs')
const read = (name: string) => readFileSync(join(docs, name), 'utf8')

test('docs/trust-file.schema.json is that of the code; if not, run npm run docs', () => {
  assert.equal(read('trust-file.schema.json'), `${JSON.stringify(trustJsonSchema(), null, 2)}\n`)
})
