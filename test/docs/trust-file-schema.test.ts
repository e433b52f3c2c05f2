import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { parse } from 'yaml'
import { parseTrust, trustJsonSchema } from '../../src/auth/federation/trust-file.ts'

const docs = join(import.meta.dirname, '../../docs')
const read = (name: string) => readFileSync(join(docs, name), 'utf8')

test('docs/trust-file.schema.json is that of the code; if not, run npm run docs', () => {
  assert.equal(read('trust-file.schema.json'), `${JSON.stringify(trustJsonSchema(), null, 2)}\n`)
})

test('the example for operators is a valid trust file, for the service and for editors', () => {
  const [, example = ''] = read('for-operators.md').match(/```yaml\n(issuers:[\s\S]*?)```/) ?? []
  const surroundings = {
    path: 'trust.yaml',
    publicUrl: 'https://keys.example.com',
    plans: ['gold'],
    variable: () => undefined,
  }
  assert.equal(parseTrust(example, surroundings).rules[0]?.id, 'acme-ci')
  const validate = new Ajv2020().compile(trustJsonSchema())
  assert.ok(validate(parse(example)), JSON.stringify(validate.errors))
  assert.ok(!validate(parse(example.replace('key_ttl', 'key_tll'))))
  assert.ok(!validate(parse(example.replace('kind: github', 'kind: githup'))))
})
