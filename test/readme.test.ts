import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { errorCatalogue } from '../src/error-catalogue.ts'
import { problemStatus } from '../src/http/problem.ts'

const root = join(import.meta.dirname, '..')
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const forCallers = read('docs/for-callers.md')

/** Every document for people, relative to the root. */
const documents = [root, join(root, 'docs')].flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.md'))
    .map((name) => normalize(join(folder === root ? '.' : 'docs', name))),
)

test('the error table has every code beside its status, and says which are retryable', () => {
  const table = forCallers.slice(forCallers.indexOf('| status |'), forCallers.indexOf('## Rate limits'))
  for (const [code, status] of Object.entries(problemStatus)) {
    const row = table.split('\n').find((line) => line.includes(`\`${code}\``))
    assert.ok(row?.split('|')[1]?.includes(String(status)), `${code} ${status}`)
  }
  for (const [code, { retryable }] of Object.entries(errorCatalogue)) {
    const row = table.split('\n').find((line) => line.includes(`\`${code}\``)) ?? ''
    if (retryable) assert.match(table, RegExp(`\`${code}\`[^|;]*retryable`), code)
    else assert.doesNotMatch(row, /retryable/, code)
  }
})

test('the commands that the documents name exist', () => {
  const { scripts } = JSON.parse(read('package.json'))
  const named = (text: string) => [...text.matchAll(/npm run (?:-s )?([a-z][a-z:-]*)/g)]
  assert.ok(named(read('README.md') + read('CONTRIBUTING.md')).length > 4)
  for (const file of documents)
    for (const [, name = ''] of named(read(file))) assert.ok(scripts[name], `${file}: npm run ${name}`)
})

test('the README is read in one go: fewer than 120 lines', () => {
  assert.ok(read('README.md').trimEnd().split('\n').length < 120)
})

/** The anchor that GitHub gives a heading. */
function anchorOf(heading: string): string {
  return heading
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
    .replaceAll(' ', '-')
}

const withoutCode = (markdown: string) => markdown.replaceAll(/^```[\s\S]*?^```$/gm, '')

function anchorsOf(file: string): Set<string> {
  const headings = withoutCode(read(file)).matchAll(/^#{1,6} (.+)$/gm)
  return new Set([...headings].map(([, heading = '']) => anchorOf(heading)))
}

test('every relative link in the documents leads to a file, and to a heading in it', () => {
  let links = 0
  for (const file of documents) {
    const text = withoutCode(read(file)).replaceAll(/`[^`\n]*`/g, '')
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      links += 1
      const [path = '', anchor] = target.split('#')
      const named = path === '' ? file : normalize(join(dirname(file), path))
      assert.ok(existsSync(join(root, named)), `${file} links to ${target}: there is no ${named}`)
      if (anchor !== undefined)
        assert.ok(anchorsOf(named).has(anchor), `${file} links to ${target}: ${named} has no such heading`)
    }
  }
  assert.ok(links > 30)
})

test('the screenshot in the README is there, and small', () => {
  const [, image = ''] = read('README.md').match(/!\[[^\]]+\]\(([^)]+\.png)\)/) ?? []
  assert.notEqual(image, '')
  const size = statSync(join(root, image)).size
  assert.ok(size > 10_000 && size < 150_000, `${image} has ${size} bytes`)
})
