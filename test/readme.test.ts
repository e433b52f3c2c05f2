import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readConfig } from '../src/config.ts'
import { errorCatalogue } from '../src/errors.ts'
import { problemStatus } from '../src/http/problem.ts'

const root = join(import.meta.dirname, '..')
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const readme = read('README.md')

test('the configuration table has every variable, and no other', () => {
  const inCode = new Set(
    [...read('src/config.ts').matchAll(/^ {2}([A-Z][A-Z_]+): /gm)].map(([, name]) => name),
  )
  const table = readme.slice(readme.indexOf('| variable |'), readme.indexOf('AWS credentials come from'))
  const inReadme = new Set(
    [...table.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap(([, cell = '']) => cell.match(/[A-Z][A-Z_]+/g) ?? []),
  )
  assert.ok(inCode.size > 10)
  assert.deepEqual([...inReadme].sort(), [...inCode].sort())
})

test('the defaults in the table are the ones of the code', () => {
  const config = readConfig({
    AWS_REGION: 'eu-west-1',
    USAGE_PLAN_ID: 'a',
    API_BASE_URL: 'https://a.example',
  })
  for (const value of [
    config.host,
    config.port,
    config.registerTimeoutMs,
    config.rateLimitPerIp,
    config.logLevel,
  ]) {
    assert.match(readme, RegExp(`\\| [^|]*\`${value}\`[^|]* \\|`), String(value))
  }
  assert.ok(config.store.kind === 'sqlite')
  assert.match(readme, RegExp(`\`sqlite:${config.store.path}\``))
})

test('the error table has every code beside its status, and says which are retryable', () => {
  const table = readme.slice(readme.indexOf('| status |'), readme.indexOf('## Bootstrap tokens'))
  for (const [code, status] of Object.entries(problemStatus)) {
    const row = table.split('\n').find((line) => line.includes(`\`${code}\``))
    assert.ok(row?.split('|')[1]?.includes(String(status)), `${code} ${status}`)
  }
  for (const [code, { retryable }] of Object.entries(errorCatalogue)) {
    if (retryable) assert.match(table, RegExp(`\`${code}\`[^|;]*retryable`), code)
  }
})

test('the commands that the README names exist', () => {
  const { scripts } = JSON.parse(read('package.json'))
  const named = [...(readme + read('CONTRIBUTING.md')).matchAll(/npm run (?:-s )?([a-z][a-z:-]*)/g)]
  assert.ok(named.length > 4)
  for (const [, name = ''] of named) assert.ok(scripts[name], name)
})
