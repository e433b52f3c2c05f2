import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { phases, transitions } from '../../src/registration/lifecycle.ts'
import { withLifecycleSection } from '../support/docs/lifecycle-section.ts'

test('docs/architecture.md shows the phases and transitions of lifecycle.ts: npm run docs writes them', () => {
  const document = readFileSync(join(import.meta.dirname, '../../docs/architecture.md'), 'utf8')
  assert.equal(document, withLifecycleSection(document))
})

test('every phase can be reached, and every phase but `ended` can be left', () => {
  const names = Object.keys(phases)
  assert.deepEqual([...new Set(transitions.map(({ to }) => to))].sort(), [...names].sort())
  const left = new Set<string | null>(transitions.map(({ from }) => from))
  assert.deepEqual(
    names.filter((phase) => !left.has(phase)),
    ['ended'],
  )
})
