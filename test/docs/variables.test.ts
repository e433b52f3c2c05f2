import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readConfig } from '../../src/config.ts'
import { serverHelp, variableTexts } from '../../src/variables.ts'
import { withVariablesSection } from '../support/docs/variables-section.ts'

const minimal = { AWS_REGION: 'eu-west-1', USAGE_PLAN_ID: 'abc123', API_BASE_URL: 'https://api.example.com' }

test('docs/for-operators.md has the variables of variables.ts: npm run docs writes them', () => {
  const document = readFileSync(join(import.meta.dirname, '../../docs/for-operators.md'), 'utf8')
  assert.equal(document, withVariablesSection(document))
})

test('the defaults in the table are those of the code', () => {
  const literals = Object.entries(variableTexts).flatMap(([name, { byDefault }]) => {
    const [, value] = byDefault.match(/^`(.+)`$/) ?? []
    return value === undefined ? [] : [[name, value.replace('PORT', '3000')] as const]
  })
  assert.ok(literals.length > 10)
  for (const [name, value] of literals)
    assert.deepEqual(readConfig({ ...minimal, [name]: value }), readConfig(minimal), name)
  for (const name of Object.keys(minimal) as (keyof typeof minimal)[])
    assert.match(variableTexts[name].byDefault, /^required/)
})

test('the help of the server lists every variable, in 80 columns and without Markdown', () => {
  const help = serverHelp()
  for (const name of Object.keys(variableTexts))
    assert.match(help, RegExp(`^ {2}${name}( \\(.*\\))?\\n {6}\\S`, 'm'), name)
  for (const line of help.split('\n')) assert.ok(line.length <= 80, line)
  assert.doesNotMatch(help, /`|\]\(|\n\n\n/)
})
