import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '../..')
const document = readFileSync(join(root, 'docs/architecture.md'), 'utf8')
const quoted = (text: string) => [...text.matchAll(/`([^`\s]+)`/g)].map(([, name = '']) => name)

test('every path and file that docs/architecture.md names exists', () => {
  const names = globSync('**/*.{ts,js,mjs}', { cwd: root, exclude: ['node_modules/**'] }).map((file) =>
    basename(file),
  )
  for (const name of quoted(document)) {
    if (/\/.*(\.(ts|mjs|js)|\/)$/.test(name)) {
      const isThere = ['', 'src'].some((folder) => existsSync(join(root, folder, name)))
      assert.ok(isThere, name)
    } else if (/^[\w-]+\.(ts|mjs|js)$/.test(name)) assert.ok(names.includes(name), name)
  }
})

test('docs/architecture.md names every folder and every file of registration/, each in its folder', () => {
  const table = document.slice(document.indexOf('| room in `src/registration/`'))
  const rows = table.slice(0, table.indexOf('\n\n')).split('\n').slice(2)
  const named = rows.flatMap((row) => {
    const [, room = '', content = ''] = row.split('|')
    const folder = quoted(room)[0] ?? ''
    return quoted(content).map((name) => `${folder}${name}.ts`)
  })
  const there = globSync('**/*.ts', { cwd: join(root, 'src/registration') })
  for (const file of named) assert.ok(there.includes(file), file)
  const unnamed = there.filter((file) => !named.includes(file))
  assert.deepEqual(unnamed, [])
})
