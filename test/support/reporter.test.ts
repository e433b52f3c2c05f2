import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

const files = {
  'all-pass.test.mjs': `import { test } from 'node:test'
for (let i = 0; i < 100; i++) test('case ' + i, () => console.log('noise'))
test('later', { todo: true }, () => { throw new Error('not yet') })
`,
  'fails.test.mjs': `import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
describe('keys', () => {
  test("a caller's key (the first) is $new", () => assert.deepEqual({ plan: 'gold' }, { plan: 'free' }))
  test('another passes', () => {})
})
describe('no database', () => {
  before(() => { throw new Error('down', { cause: new Error('refused') }) })
  test('reads', () => {})
})
test('skipped', { skip: 'there is no tool' }, () => {})
test('skipped too', (t) => t.skip('there is no tool'))
`,
  'crashes.test.mjs': `import { test } from 'node:test'
test('passes', () => {})
console.error('the last words')
setTimeout(() => process.kill(process.pid, 'SIGKILL'), 100)
`,
  'leaks.test.mjs': `import { test } from 'node:test'
test('leaves a timer', () => void setInterval(() => {}, 60_000))
`,
}

const folder = mkdtempSync(join(tmpdir(), 'firstkey-test-'))
const { NODE_TEST_CONTEXT: _, ...env } = process.env
let output = ''
let status: number | null

before(() => {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const run = join(import.meta.dirname, 'run-tests.ts')
  const child = spawnSync(process.execPath, [run, ...Object.keys(files)], {
    cwd: folder,
    env: { ...env, TEST_GRACE_MS: '4000' },
    encoding: 'utf8',
  })
  output = child.stdout
  status = child.status
})
after(() => rmSync(folder, { recursive: true }))

test('a failing test is shown with its place, its diff, and a command that repeats it', () => {
  assert.equal(status, 1)
  const title = "✖ fails.test.mjs:4:3  keys › a caller's key (the first) is $new"
  assert.match(output, /\+ {3}plan: 'gold'\n +- {3}plan: 'free'\n/)
  const repeat = String.raw`npx node --test --test-name-pattern='^keys a caller'\''s key \(the first\) is \$new$' fails.test.mjs`
  for (const text of [title, repeat])
    assert.equal(output.split(text).length, 3, `once when it is known, once in the summary: ${text}`)
  const repeated = spawnSync(repeat.replace('npx node', process.execPath), {
    cwd: folder,
    env,
    shell: true,
    encoding: 'utf8',
  })
  assert.match(repeated.stdout, /\bpass 0\n.*\bfail 1\n/s)
})

test('the failure of a hook is shown with the cause', () => {
  assert.match(
    output,
    /✖ fails\.test\.mjs:7:1 {2}no database\n +Error: down\n[^✖]*caused by Error: refused\n/,
  )
})

test('a file that crashes is a failure, with what it printed', () => {
  assert.match(output, /✖ crashes\.test\.mjs\n +The file did not end well: SIGKILL\./)
  assert.match(output, /output of crashes\.test\.mjs:\n +the last words\n/)
})

test('a file that a leaked handle keeps running is ended, and is a failure', () => {
  assert.match(output, /✖ leaks\.test\.mjs\n +The file did not end well: exit code 1\./)
  assert.match(output, /\noutput of leaks\.test\.mjs:\n[^✖]*still open 4 s after the last test: .*Timeout/)
})

test('the summary counts, gives reasons of skips, and names the slowest files', () => {
  assert.match(output, /\nslowest: ([\w-]+\.test\.mjs \d+\.\d s, ){3}[\w-]+\.test\.mjs \d+\.\d s\n/)
  assert.match(output, /\nskipped: 2 × there is no tool\n/)
  assert.match(
    output,
    /\n110 tests in 4 files, \d+\.\d s: 103 passed, 3 failed, 1 cancelled, 2 skipped, 1 todo\n$/,
  )
})

test('passing tests print nothing', () => {
  assert.doesNotMatch(output, /case 1|noise|another passes|not yet/)
  assert.ok(output.split('\n').length < 60)
})
