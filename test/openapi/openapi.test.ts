import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openapiText } from './document.ts'

test('docs/openapi.json is what the service says of itself; npm run openapi writes it', async () => {
  const written = readFileSync(join(import.meta.dirname, '../../docs/openapi.json'), 'utf8')
  assert.ok(written === (await openapiText()), 'docs/openapi.json is out of date: npm run openapi')
})
