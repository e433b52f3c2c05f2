import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkIds } from '../../src/setup/finding.ts'

test('docs/setup.md has a row for each check of doctor, in the order in which they are printed', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/setup.md'), 'utf8')
  const [, section = ''] = text.match(/\n## Doctor\n(.*?)\n## /s) ?? []
  const rows = [...section.matchAll(/^\| `([a-z-]+)` \| [^|]+ \| [^|]+ \|$/gm)].map(([, check]) => check)
  assert.deepEqual(rows, [...checkIds])
})
