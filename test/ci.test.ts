import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '..')
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }

/** The scripts of package.json that CI runs. */
const called = [...read('.ci/run').matchAll(/^npm (?:run )?(test[a-z:]*)$/gm)].map(([, name = '']) => name)

/** Returns the files or patterns below test/ that a script names, itself or in the file that it starts. */
function patternsOf(script: string): string[] {
  const [, started] = script.match(/node (test\/\S+\.ts)/) ?? []
  const text = started === undefined ? script : `${script} ${read(started)}`
  return [...text.matchAll(/\btest\/[\w*/-]+(?:\.\w+)?\.ts\b/g)].map(([pattern]) => pattern)
}

const inTests = globSync('test/**/*.ts', { cwd: root, exclude: ['test/clients/typescript/**'] })
const codeOf = new Map(inTests.map((file) => [file, stripTypeScriptTypes(read(file))]))

/** The files that other tests import: contract suites and what is in support/. */
const imported = new Set(
  [...codeOf].flatMap(([file, code]) =>
    [...code.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, target = '']) =>
      normalize(join(dirname(file), target)),
    ),
  ),
)

test('a command of CI runs every test file', () => {
  const run = new Set(called.flatMap((name) => globSync(patternsOf(scripts[name] ?? ''), { cwd: root })))
  const definesTests = /import \{[^}]*\b(test|describe)\b[^}]*\} from 'node:test'/
  const testFiles = [...codeOf].filter(([, code]) => definesTests.test(code)).map(([file]) => file)
  assert.ok(testFiles.length > 200)
  assert.deepEqual(
    testFiles.filter((file) => !imported.has(file) && !run.has(file)),
    [],
  )
})

test('npm run test:long runs each file with a case that npm test leaves out', () => {
  assert.match(scripts['test:long'] ?? '', /grep -rl --include=\*\.test\.ts support\/long\.ts test\)/)
  const users = [...codeOf].filter(([, code]) => /'[^']*\blong\.ts'/.test(code)).map(([file]) => file)
  assert.ok(users.length > 20)
  for (const file of users) {
    assert.match(file, /\.test\.ts$/)
    assert.match(read(file), /support\/long\.ts'/, file)
  }
})

test('CI runs every test script but the soak', () => {
  const all = Object.keys(scripts).filter((name) => /^test(:|$)/.test(name))
  assert.deepEqual(called.toSorted(), all.filter((name) => name !== 'test:soak').toSorted())
})
